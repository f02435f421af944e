"""Signs of trouble in a training: the metrics that show it, and the warnings that name it."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from srgan.metrics.artifacts import checkerboard, color_shift

DIVERGENCE_RATIO = 10.0  # a step has diverged if its pixel loss exceeds the moving average by this factor
LOSS_EMA_DECAY = 0.99  # of that average, per step
WARMUP_STEPS = 50  # steps without this check, because the loss of single batches varies too much for a short average

log = logging.getLogger(__name__)


def image_metrics(sr_image: Tensor, hr_image: Tensor, scale: int) -> dict[str, Tensor]:
    """Return metrics of `(N, channels, H, W)` SR images in 0..1 against their HR images, as scalars on the device.

    - `sr_min`, `sr_max`: range of the output, which should stay near 0..1.
    - `color_shift`: largest difference of the mean of a color channel over the batch, in 8-bit levels.
    - `checkerboard`: strength of a grid that repeats every `scale` pixels, in 8-bit levels, see `srgan.metrics.artifacts.checkerboard`.
    """
    sr_image, hr_image = sr_image.detach().float(), hr_image.detach()
    return {
        "sr_min": sr_image.amin(),
        "sr_max": sr_image.amax(),
        "color_shift": color_shift(sr_image, hr_image),
        "checkerboard": checkerboard(sr_image, scale),
    }


class DivergenceCheck:
    """Detects a diverged step on the device, so that no step waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.loss_ema = torch.tensor(0.0, device=device)  # moving average of the pixel loss
        self.number = torch.tensor(0, device=device)  # of the step that `update` checks. The caller sets it
        self.step = torch.tensor(0, device=device)  # the first step that has diverged, or 0

    def update(self, values: Tensor, pixel_loss: Tensor) -> None:
        """Check a step: it has diverged if a value is not finite, or the pixel loss is far above its moving average.

        All numbers are tensors that stay in place, so a CUDA graph may contain the check.

        Args:
            values: everything that is logged, in one vector. A norm of the gradients that is not finite shows a step that damages the
                weights before a loss does.
            pixel_loss: of the step.
        """
        diverged = ~torch.isfinite(values).all()
        diverged |= (self.number > WARMUP_STEPS) & (self.loss_ema > 0) & (pixel_loss > DIVERGENCE_RATIO * self.loss_ema)
        self.step.copy_(torch.where(diverged & (self.step == 0), self.number, self.step))
        share = (1 / self.number).clamp(min=1 - LOSS_EMA_DECAY)  # the plain mean of the first steps
        mean = self.loss_ema + (pixel_loss - self.loss_ema) * share
        self.loss_ema.copy_(torch.where(self.loss_ema == 0, pixel_loss, mean))

    def restore(self, loss_ema: Tensor) -> None:
        """Continue with a moving average of a checkpoint."""
        self.loss_ema.copy_(loss_ema)
        self.step.zero_()


class TrainingMonitor:
    """Warns, once for each kind of trouble, when the logged values show it.

    Args:
        adds_colour: the network colourizes. Its colours are a guess that is paler than the photographs, so they differ without trouble.
    """

    def __init__(self, adds_colour: bool = False) -> None:
        self.adds_colour = adds_colour
        self.warned: set[str] = set()
        self.consecutive: dict[str, int] = {}
        self.gan = False

    def check_losses(self, row: Mapping[str, float]) -> None:
        """Check a row of the training history."""
        real, fake = row.get("real_accuracy"), row.get("fake_accuracy")
        if real is not None and fake is not None:
            self.gan = True
            self._warn_if_persistent(
                "discriminator wins",
                min(real, fake) > 0.99,
                "the discriminator classifies all images correctly, so the generator may learn nothing more from it. "
                "Set train.stabilization.pause_above, lower train.discriminator.learning_rate, or raise the weight of the pixel loss",
            )
            self._warn_if_persistent(
                "discriminator loses",
                real + fake < 0.9,
                "the discriminator is worse than chance, so the adversarial loss is noise. Raise train.discriminator.learning_rate",
            )
        self._warn_if_persistent(
            "range",
            row["sr_max"] > 1.5 or row["sr_min"] < -0.5,
            f"the output is far outside 0..1 ({row['sr_min']:.2f}..{row['sr_max']:.2f}), which saturates colors. Lower learning_rate",
        )
        self._warn_if_persistent(
            "color shift",
            row["color_shift"] > 5 and not self.adds_colour,
            f"colors differ by {row['color_shift']:.1f} of 255 levels on average. Raise the weight of the pixel loss or ema, or lower "
            "learning_rate",
        )
        self._warn_if_persistent(
            "checkerboard",
            row["checkerboard"] > 1.5,
            f"the output has a grid of {row['checkerboard']:.1f} of 255 levels. Lower the weight of the adversarial loss, or raise "
            "pretrain.steps",
        )

    def check_scores(self, rows: list[dict[str, float]]) -> None:
        """Check the rows of the validation history."""
        last = rows[-1]
        key = "val_lpips" if "val_lpips" in last else "val_loss"
        if key == "val_loss" and self.gan:  # its values are not comparable, because the discriminator changes
            return
        best = min(row[key] for row in rows)
        gaps = [row["gap"] for row in rows if row["step"]]
        if len(gaps) >= 4:
            self._warn_if_persistent(
                "over-fitting",
                last[key] > 1.05 * best and gaps[-1] > 1.2 * min(gaps),
                f"over-fitting: the validation gets worse ({key} {last[key]:.4g} after {best:.4g}) and the gap to the training images "
                "grows. Use more data, fewer steps or a smaller network",
                required=2,
            )

    def _warn_if_persistent(self, kind: str, seen: bool, message: str, required: int = 3) -> None:
        """Warn if something was seen in so many consecutive rows. Warn again only after it has disappeared."""
        self.consecutive[kind] = self.consecutive.get(kind, 0) + 1 if seen else 0
        if not seen:
            self.warned.discard(kind)
        elif self.consecutive[kind] >= required and kind not in self.warned:
            self.warned.add(kind)
            log.warning("warning: %s", message)
