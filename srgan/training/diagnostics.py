"""Signs of trouble in a training: figures that show it, and words that name it."""

import logging
from collections.abc import Mapping

from torch import Tensor

from srgan.metrics.artifacts import checkerboard, color_shift

EXPLODES = 10.0  # a step whose pixel loss is so many times its running mean has diverged
MEMORY = 0.99  # of that running mean, for each step
SETTLED = 50  # steps before which that mean says little: single batches differ too much

log = logging.getLogger(__name__)


def picture_figures(sr_image: Tensor, hr_image: Tensor, scale: int) -> dict[str, Tensor]:
    """What the generator's images look like beside the originals, `(N, 3, H, W)` in 0..1, as scalars on the device.

    - `sr_min`, `sr_max`: the range of the output; it should hardly leave 0..1.
    - `color_shift`: the largest difference of the mean of a colour over the batch, in 8-bit levels.
    - `checkerboard`: strength of a grid that repeats every `scale` pixels, in 8-bit levels, see
      `srgan.metrics.artifacts.checkerboard`.
    """
    sr_image, hr_image = sr_image.detach().float(), hr_image.detach()
    return {
        "sr_min": sr_image.amin(),
        "sr_max": sr_image.amax(),
        "color_shift": color_shift(sr_image, hr_image),
        "checkerboard": checkerboard(sr_image, scale),
    }


class Watch:
    """Says in words, once for each kind of trouble, what the logged figures mean."""

    def __init__(self) -> None:
        self.said: set[str] = set()
        self.streak: dict[str, int] = {}
        self.gan = False

    def losses(self, row: Mapping[str, float]) -> None:
        """Look at a row of the losses."""
        real, fake = row.get("real_accuracy"), row.get("fake_accuracy")
        if real is not None and fake is not None:
            self.gan = True
            self._lasting(
                "wins",
                min(real, fake) > 0.99,
                "the discriminator tells all images apart: the generator may learn nothing more from it; "
                "lower train.discriminator.learning_rate, or raise train.losses.pixel.weight",
            )
            self._lasting(
                "loses",
                real + fake < 0.9,
                "the discriminator does worse than guessing: its judgement is worth nothing; raise train.discriminator.learning_rate",
            )
        self._lasting(
            "range",
            row["sr_max"] > 1.5 or row["sr_min"] < -0.5,
            f"the output has left 0..1 by far ({row['sr_min']:.2f}..{row['sr_max']:.2f}): saturated colours; lower learning_rate",
        )
        self._lasting(
            "shift",
            row["color_shift"] > 5,
            f"colours are off by {row['color_shift']:.1f} of 255 levels on average; raise the pixel loss or ema, or lower learning_rate",
        )
        self._lasting(
            "grid",
            row["checkerboard"] > 1.5,
            f"a grid of {row['checkerboard']:.1f} of 255 levels lies over the output; lower the adversarial weight, or train longer first",
        )

    def scores(self, rows: list[dict[str, float]]) -> None:
        """Look at the validation so far, row by row."""
        last = rows[-1]
        key = "val_lpips" if "val_lpips" in last else "val_loss"
        if key == "val_loss" and self.gan:  # measured by a discriminator that moves on
            return
        best = min(row[key] for row in rows)
        gaps = [row["gap"] for row in rows if row["step"]]
        if len(gaps) >= 4:
            self._lasting(
                "over-fitting",
                last[key] > 1.05 * best and gaps[-1] > 1.2 * min(gaps),
                f"over-fitting: the validation gets worse ({key} {last[key]:.4g}, was {best:.4g}) and is further and further from the "
                "training images; use more data, fewer steps or a smaller network",
                needed=2,
            )

    def _lasting(self, kind: str, seen: bool, words: str, needed: int = 3) -> None:
        """Warn when something was seen so many times in a row, and again only after it was gone."""
        self.streak[kind] = self.streak.get(kind, 0) + 1 if seen else 0
        if not seen:
            self.said.discard(kind)
        elif self.streak[kind] >= needed and kind not in self.said:
            self.said.add(kind)
            log.warning("warning: %s", words)
