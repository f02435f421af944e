"""The registry of the losses. A new loss is one file and one line here."""

from torch import nn

from srgan.data.download.weights import WeightsUnavailable
from srgan.losses import adversarial, chroma, frequency, hatch, ldl, ms_ssim, perceptual, pixel
from srgan.losses.base import Loss, LossOptions
from srgan.utils.errors import SrganError

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        pixel.L1,
        pixel.MSE,
        pixel.CHARBONNIER,
        pixel.TOTAL_VARIATION,
        pixel.GRADIENT,
        ms_ssim.MS_SSIM,
        frequency.FOCAL_FREQUENCY,
        chroma.OKLAB_CHROMA,
        hatch.HATCH,
        ldl.LDL,
        adversarial.VANILLA,
        adversarial.RELATIVISTIC,
        adversarial.LEAST_SQUARES,
        adversarial.HINGE,
        adversarial.FEATURE_MATCHING,
        perceptual.VGG19,
        perceptual.LPIPS_SQUEEZE,
        perceptual.LPIPS_ALEX,
    )
}


def build_loss(options: LossOptions, trained: bool = True) -> nn.Module:
    """Return the loss that the options describe: a module that maps `LossInputs` to a float32 scalar.

    Args:
        options: an item of ``losses`` in ``params.yaml``.
        trained: False for random weights in pretrained networks, to measure time and memory.

    Raises:
        SrganError: pretrained weights are not available. The message names the file, the searched places and the alternatives.
    """
    loss = LOSSES[options.name]
    arguments = {key: value for key, value in options if key not in ("name", "weight")}
    if not loss.pretrained:
        return loss.factory(**arguments)
    try:
        return loss.factory(**arguments, trained=trained)
    except WeightsUnavailable as error:
        others = [other.name for other in LOSSES.values() if other.pretrained and other.pretrained != loss.pretrained]
        raise SrganError(
            f"{error}. Or replace the loss {loss.name} in params.yaml by {' or '.join(others)} (other weights) or by "
            f"{adversarial.FEATURE_MATCHING.name} (no weights)"
        ) from error


def losses_table() -> str:
    """Return a Markdown table of the losses, for the docs."""
    lines = ["| `name` | loss | options |", "|---|---|---|"]
    for loss in LOSSES.values():
        options = ", ".join(f"`{name}`" for name in loss.config.model_fields if name != "name")
        lines.append(f"| `{loss.name}` | {loss.description} | {options} |")
    return "\n".join(lines)
