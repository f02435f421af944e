"""Export and interpolation of weights, from this project or from third parties."""

import json
import logging
import re
from pathlib import Path

from srgan.export.onnx import export_onnx, file_name
from srgan.models import pretrained
from srgan.models.checkpoints import restore, save_generator
from srgan.models.network import Generator
from srgan.models.registry import architecture_of
from srgan.models.weights_file import read_metadata
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


def export_checkpoint(checkpoint: Path, output: Path | None = None, name: str = "", license: str = "", optimize_graph: bool = True) -> Path:
    """Write weights as an `.onnx` file of contract 1.

    Args:
        checkpoint: ``.safetensors`` of this project, or a third-party checkpoint (`srgan.models.pretrained`).
        output: the new file. By default in the folder of `checkpoint`, with the name of the contract.
        name: part of the name of the file. By default the name of the checkpoint.
        license: of the weights, if it is not part of the checkpoint.
        optimize_graph: see `srgan.export.onnx.export_onnx`.

    Returns:
        The new file.

    Raises:
        SrganError: `checkpoint` is unreadable, or holds no known network.
    """
    generator, metadata = _opened(checkpoint)
    arch, _ = architecture_of(generator)
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name or checkpoint.stem)
    output = output or checkpoint.with_name(file_name(generator.scale, name, arch))
    # Most third-party checkpoints are GANs. A GAN is assumed, so that its images are marked as generated.
    described = {"sr.objective": "gan", "sr.license": license or "unknown"} | metadata
    described |= {"sr.name": name, "sr.weights_sha256": sha256(checkpoint)} | ({"sr.license": license} if license else {})
    result = export_onnx(output, generator, described, optimize_graph)
    size, worst = result["bytes"] / 1e6, max(result["max_difference"].values())
    log.info("%s: %s x%d, %.1f MB, at most %.1e from torch", output, arch, generator.scale, size, worst)
    return output


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
    (mixed, ours), (other, theirs) = _opened(first), _opened(second)
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


def _opened(path: Path) -> tuple[Generator, dict[str, str]]:
    state = pretrained.read_json_or_none(path)
    metadata = read_metadata(path, "train") if path.suffix == ".safetensors" else {}
    return restore(state, metadata, path), metadata
