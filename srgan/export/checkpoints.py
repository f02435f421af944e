"""Export and interpolation of weights, from this project or from third parties."""

import json
import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from srgan.export.base import Source
from srgan.export.onnx import export_onnx, file_name
from srgan.export.registry import select_formats
from srgan.inference.weights import described, read_weights
from srgan.models.checkpoints import save_generator
from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.models.weights_file import is_foreign
from srgan.starters import catalogue
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


def export_checkpoint(
    checkpoint: Path, output: Path | None = None, name: str = "", license: str = "", optimize_graph: bool = True, origin: str = ""
) -> Path:
    """Write weights as an `.onnx` file of contract 1.

    Args:
        checkpoint: ``.safetensors`` of this project, a third-party checkpoint (`srgan.models.pretrained`) or the name of a starter.
        output: the new file. By default in the folder of `checkpoint`, or for a starter in this one, with the name of the contract.
        name: part of the name of the file. By default the name of the checkpoint.
        license: of the weights, if it is not part of the checkpoint.
        optimize_graph: see `srgan.export.onnx.export_onnx`.
        origin: author and address of the weights, if they are of a third party.

    Returns:
        The new file.

    Raises:
        SrganError: `checkpoint` is unreadable, or holds no known network.
    """
    generator, metadata = open_weights(checkpoint, name, license, origin)
    arch, _ = architecture_of(generator)
    output = output or checkpoint.with_name(file_name(generator.scale, metadata["sr.name"], arch))
    result = export_onnx(output, generator, metadata, optimize_graph)
    size, worst = result["bytes"] / 1e6, max(result["max_difference"].values())
    log.info("%s: %s x%d, %.1f MB, at most %.1e from torch", output, arch, generator.scale, size, worst)
    return output


def convert(
    weights: Path, formats: str, folder: Path, name: str = "", license: str = "", origin: str = "", runtime: Path | None = None
) -> list[Path]:
    """Write weights in several formats.

    Args:
        weights: as for `export_checkpoint`.
        formats: names of `srgan.export.registry.FORMATS`, separated by commas.
        folder: gets the files. It is made if it is missing.
        name: part of the names of the files. By default the name of `weights`.
        license: of the weights, if it is not part of the file.
        origin: as for `export_checkpoint`.
        runtime: folder with the npm package onnxruntime-web, for `web`. None downloads it.

    Returns:
        The new files.

    Raises:
        SrganError: `weights` is unreadable, a format is unknown, or formats could not be written. The others are written before.
    """
    wanted = select_formats(formats)
    generator, metadata = open_weights(weights, name, license, origin)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    failures = []
    with TemporaryDirectory() as scratch:
        source = Source(generator, metadata, metadata["sr.name"], Path(scratch), runtime)
        for made in wanted:
            try:
                files = made.write(source, folder)
            except SrganError as error:
                failures.append(f"{made.name}: {error}")
                continue
            written += files
            log.info("%s: %s", made.name, ", ".join(f"{path} ({path.stat().st_size / 1e3:,.0f} kB)" for path in files))
    if failures:
        raise SrganError("\n  ".join([f"{len(failures)} of {len(wanted)} formats were not written:", *failures]))
    return written


def interpolate(first: Path, second: Path, alpha: float, output: Path) -> None:
    """Interpolate the weights of two generators, `(1 - alpha) * first + alpha * second`.

    Between the weights of the pixel stage and of the GAN stage, the results change from smooth to detailed. Interpolated images would show
    the artifacts of both (ESRGAN, section 3.4).

    Args:
        first: weights, as for `export_checkpoint`.
        second: weights of the same network.
        alpha: weight of `second`, 0..1.
        output: the new ``.safetensors`` file.

    Raises:
        SrganError: a file is unreadable, or the networks differ.
    """
    first, second = catalogue.resolve(first), catalogue.resolve(second)
    (mixed, ours), (other, theirs) = read_weights(first), read_weights(second)
    (name, config), (other_name, other_config) = architecture_of(mixed), architecture_of(other)
    if (name, config) != (other_name, other_config):
        raise SrganError(f"{first} holds {name} {config}, {second} holds {other_name} {other_config}. The networks differ")
    state = other.state_dict()
    mixed.load_state_dict(
        {key: value.lerp(state[key], alpha) if value.is_floating_point() else value for key, value in mixed.state_dict().items()}
    )
    mixed.keep_luma = mixed.keep_luma and other.keep_luma
    metadata = {key: value for key, value in ours.items() if theirs.get(key) == value}
    shares = ((ours, 1 - alpha), (theirs, alpha))
    metadata["sr.objective"] = "gan" if any(share and known.get("sr.objective") != "psnr" for known, share in shares) else "psnr"
    metadata["sr.interpolated"] = json.dumps({"of": [sha256(first), sha256(second)], "alpha": alpha})
    save_generator(output, mixed, metadata)
    log.info("%s: %g of %s and %g of %s. Export it with: srgan export %s", output, 1 - alpha, first, alpha, second, output)


def open_weights(weights: Path, name: str, license: str, origin: str = "") -> tuple[Generator, dict[str, str]]:
    """Return the network of a file of weights and the metadata of its exports. The arguments are those of `convert`."""
    path = catalogue.resolve(weights)
    generator, metadata = read_weights(path)
    foreign = is_foreign(metadata)
    given = {key: text for key, text in {"sr.license": license, "sr.origin": origin if foreign else ""}.items() if text}
    if foreign and len(given) < 2:
        log.warning("%s: weights of a third party. Name their license and origin with --license and --origin", weights)
    return generator, described(path, metadata) | {"sr.name": re.sub(r"[^A-Za-z0-9_.]", "_", name or weights.stem)} | given
