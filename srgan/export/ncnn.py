"""Export of a generator to ncnn: a ``.param`` file with the layers and a ``.bin`` file with the weights.

The package ``pnnx`` converts the network, and the package ``ncnn`` runs it for the comparison with torch. Both are optional. The input is
called ``data`` and the output ``output``, as Upscayl and the programs of Real-ESRGAN expect. Both are RGB in 0..1.
"""

import copy
import logging
import subprocess
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import torch

from srgan.export.base import Format, Source
from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file

log = logging.getLogger(__name__)

BLOBS = {"in0": "data", "out0": "output"}  # names of pnnx, and those in the file
WORDS = {"pnnx.Expression": "arithmetic of sizes"}  # for operations that exist in the files of pnnx only
TOLERANCE = 2e-3  # largest allowed difference from torch, on a range of 0..1
PROBE_SIZES = ((1, 1), (33, 7), (41, 58))  # height, width
_TRACED, _ALSO = (24, 40), (41, 29)  # sizes of the image for pnnx. Two sizes make height and width dynamic


def export_ncnn(path: Path, model: Generator, half: bool = False) -> float:
    """Write `model` as ncnn files. They are compared with torch before they get their names.

    Args:
        path: the new ``.param`` file. The ``.bin`` file has the same name otherwise.
        model: generator, `(N, channels, H, W)` in 0..1 to `(N, channels, scale * H, scale * W)`.
        half: store the weights in float16.

    Returns:
        The largest difference from torch on the CPU.

    Raises:
        SrganError: the packages are missing, ncnn lacks an operation of the network, or the results differ by more than `TOLERANCE`.
    """
    pnnx, ncnn = _packages()
    plain = copy.deepcopy(model.folded()).cpu().float().eval()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        layers = _convert(pnnx.EXEC_PATH, folder, plain, half)
        kinds = {layer.split()[0] for layer in layers}
        if unknown := sorted(WORDS.get(kind, kind) for kind in kinds if ncnn.layer_to_index(kind) < 0):
            name, _ = architecture_of(plain)
            colours = " with keep_luma" if plain.keep_luma else ""
            raise SrganError(f"ncnn has no operation {', '.join(unknown)} for {name}{colours}. Export it with: --to onnx")
        param, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
        head = param.read_text().splitlines()[:2]
        param.write_text("\n".join([*head, *map(_renamed, layers)]) + "\n")
        worst = check_parity(param, weights, plain)
        if not worst < TOLERANCE:
            advice = ". Use the format ncnn, which stores float32" if half else ""
            raise SrganError(f"{path.name}: ncnn differs from torch by {worst:.2g}, at most {TOLERANCE:g} is allowed{advice}")
        for source, target in ((weights, path.with_suffix(".bin")), (param, path)):
            with atomic_file(target) as temporary:
                temporary.write_bytes(source.read_bytes())
    return worst


def check_parity(param: Path, weights: Path, model: Generator) -> float:
    """Return the largest absolute difference between ncnn on the CPU and torch, for random images of `PROBE_SIZES`.

    Raises:
        SrganError: ncnn cannot run the files, or the result has another shape.
    """
    net = open_net(param, weights)
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for size in PROBE_SIZES:
        image = torch.rand(1, model.channels, *size, generator=generator)
        with torch.inference_mode():
            expected = model(image)[0].numpy()
        actual = run_net(net, image[0].numpy())
        if actual.shape != expected.shape:
            raise SrganError(f"export: ncnn returns {actual.shape} for {tuple(image.shape)}, torch {expected.shape}")
        worst = max(worst, float(np.abs(actual - expected).max()))
    return worst


def open_net(param: Path, weights: Path, threads: int = 1) -> Any:
    """Return an `ncnn.Net` that computes in float32 on the CPU.

    Raises:
        SrganError: ncnn cannot read the files.
    """
    _, ncnn = _packages()
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise SrganError(f"{param}: ncnn cannot read this file and {weights.name}")
    return net


def run_net(net: Any, image: np.ndarray) -> np.ndarray:
    """Return the result of a net of `open_net`: `(channels, H, W)` float32 in 0..1 to `(channels, scale * H, scale * W)`, not clamped.

    Raises:
        SrganError: ncnn fails.
    """
    _, ncnn = _packages()
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(np.ascontiguousarray(image)))
    status, result = extractor.extract("output")
    if status:
        raise SrganError(f"export: ncnn fails for an image of shape {image.shape} (status {status})")
    return np.array(result)


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import ncnn
        import pnnx
    except ImportError as error:
        raise SrganError(
            f"the format ncnn needs the packages pnnx and ncnn ({error}). Install them with: pip install 'srgan[ncnn]'"
        ) from error
    return pnnx, ncnn


def _convert(program: str, folder: Path, model: Generator, half: bool) -> list[str]:
    """Let pnnx write ``model.ncnn.param`` and ``model.ncnn.bin`` into a folder, and return the lines of the layers."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, which pnnx reads
        torch.jit.trace(model, torch.rand(1, model.channels, *_TRACED), check_trace=False).save(str(folder / "model.pt"))
    sizes = (("inputshape", _TRACED), ("inputshape2", _ALSO))
    shapes = [f"{name}=[1,{model.channels},{height},{width}]f32" for name, (height, width) in sizes]
    done = subprocess.run([program, "model.pt", *shapes, f"fp16={int(half)}"], cwd=folder, capture_output=True, text=True, check=False)
    param = folder / "model.ncnn.param"
    if done.returncode or not param.is_file():
        words = (done.stderr or done.stdout).strip().splitlines()
        raise SrganError(f"export: pnnx failed with status {done.returncode} ({words[-1] if words else 'no message'}). Use --to onnx")
    return param.read_text().splitlines()[2:]


def _renamed(layer: str) -> str:
    """Return a line of a ``.param`` file, ``TYPE NAME INPUTS OUTPUTS BLOB... OPTION...``, with the names of `BLOBS`."""
    kind, name, inputs, outputs, *rest = layer.split()
    count = int(inputs) + int(outputs)
    blobs = [BLOBS.get(blob, blob) for blob in rest[:count]]
    return " ".join([f"{kind:<24} {name:<24} {inputs} {outputs}", *blobs, *rest[count:]])


def scale_in_name(name: str) -> int:
    """Return the scale that Upscayl reads from the name of a file: the first of 1x, x1, 2x, x2 and so on in it, otherwise 4."""
    return next((scale for scale in (1, 2, 3, 4, 8, 16) if f"{scale}x" in name or f"x{scale}" in name), 4)


def _write(source: Source, folder: Path, half: bool = False) -> list[Path]:
    param = folder / f"{source.stem}{'-fp16' if half else ''}.param"
    if scale_in_name(param.stem) != source.generator.scale:
        log.warning("%s: Upscayl takes this name for scale %d. Choose another with --name", param.stem, scale_in_name(param.stem))
    log.info("%s: at most %.1e from torch", param.name, export_ncnn(param, source.generator, half))
    return [param, param.with_suffix(".bin")]


NCNN = Format("ncnn", _write, "`.param` and `.bin`, weights in float32", "Upscayl, programs with Vulkan, phones")
NCNN_FP16 = Format("ncnn-fp16", partial(_write, half=True), "`.param` and `.bin`, weights in float16: half the size", "the same")
