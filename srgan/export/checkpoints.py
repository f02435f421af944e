"""Weights of any origin: into ONNX, or mixed with others."""

import json
import logging
import re
from pathlib import Path

from torch import nn

from srgan.export.onnx import export_onnx, file_name
from srgan.models import pretrained
from srgan.models.checkpoints import generator_of, save_generator
from srgan.models.registry import describe
from srgan.models.weights_file import read_metadata
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


def export_checkpoint(checkpoint: Path, output: Path | None = None, name: str = "", license: str = "", plain: bool = False) -> Path:
    """Write weights as an `.onnx` file of contract 1.

    Args:
        checkpoint: ``.safetensors`` of this project, or a checkpoint of the community (`srgan.models.pretrained`).
        output: of the file; None: beside `checkpoint`, by the contract's rule.
        name: part of the file's name; by default the checkpoint's.
        license: of the weights, if the checkpoint does not tell.
        plain: see `srgan.export.onnx.export_onnx`.

    Returns:
        Where it was written.

    Raises:
        SrganError: `checkpoint` cannot be read, or is none of a network that is known here.
    """
    generator, metadata = _opened(checkpoint)
    arch, _ = describe(generator)
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name or checkpoint.stem)
    output = output or checkpoint.with_name(file_name(generator.scale, name, arch))
    # Most checkpoints of the community are GANs, and a picture had better say too much of its origin than too little.
    described = {"sr.objective": "gan", "sr.license": license or "unknown"} | metadata
    described |= {"sr.name": name, "sr.weights_sha256": sha256(checkpoint)} | ({"sr.license": license} if license else {})
    result = export_onnx(output, generator, described, plain)
    size, worst = result["bytes"] / 1e6, max(result["max_difference"].values())
    log.info("%s: %s x%d, %.1f MB, at most %.1e from torch", output, arch, generator.scale, size, worst)
    return output


def interpolate(first: Path, second: Path, alpha: float, output: Path) -> None:
    """Mix the weights of two generators, `(1 - alpha) * first + alpha * second`.

    Between a generator trained on pixels and one trained on from it as a GAN, this goes from smooth to detailed without artefacts of a mix
    of pictures (ESRGAN, section 3.4).

    Args:
        first: weights, as for `export_checkpoint`.
        second: weights of the same network.
        alpha: share of `second`, 0..1.
        output: a ``.safetensors`` file.

    Raises:
        SrganError: a file cannot be read, or they hold different networks.
    """
    (mixed, ours), (other, theirs) = _opened(first), _opened(second)
    if describe(mixed) != describe(other):
        (name, config), (other_name, other_config) = describe(mixed), describe(other)
        raise SrganError(f"{first} holds {name} {config}, {second} {other_name} {other_config}: only weights of one network can be mixed")
    state = other.state_dict()
    mixed.load_state_dict(
        {key: value.lerp(state[key], alpha) if value.is_floating_point() else value for key, value in mixed.state_dict().items()}
    )
    metadata = {key: value for key, value in ours.items() if theirs.get(key) == value}
    shares = ((ours, 1 - alpha), (theirs, alpha))
    metadata["sr.objective"] = "gan" if any(share and known.get("sr.objective") != "psnr" for known, share in shares) else "psnr"
    metadata["sr.interpolated"] = json.dumps({"of": [sha256(first), sha256(second)], "alpha": alpha})
    save_generator(output, mixed, metadata)
    log.info("%s: %g of %s, %g of %s; make it a model: srgan export %s", output, 1 - alpha, first, alpha, second, output)


def _opened(path: Path) -> tuple[nn.Module, dict[str, str]]:
    state = pretrained.read_state(path)
    metadata = read_metadata(path, "train") if path.suffix == ".safetensors" else {}
    return generator_of(state, path).eval(), metadata
