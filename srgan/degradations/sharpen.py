"""Sharpening with halos."""

from collections.abc import Sequence
from typing import Annotated

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column
from srgan.degradations.filters import gaussians, separable


class SharpenOptions(StepOptions):
    """Unsharp mask. Edges overshoot, which shows as a bright and a dark line."""

    sigma: Annotated[Range, within(0.1, 20)] = option((0.5, 3.0), "width of the halos: standard deviation of the Gaussian in pixels")
    amount: Annotated[Range, within(0, 10)] = option((0.3, 1.5), "strength: factor of the difference from the blurred image")


def _draw(options: SharpenOptions, state: Drawing) -> Drawn:
    return {"sigma": state.draws.uniform(*options.sigma), "amount": state.draws.uniform(*options.amount)}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    kernels = gaussians([one["sigma"] for one in drawn], batch.pixels)
    difference = batch.pixels - separable(batch, kernels, kernels)
    return batch.with_pixels((batch.pixels + column([one["amount"] for one in drawn], batch.pixels) * difference).clamp_(0, 1))


SHARPEN = Degradation("sharpen", "Unsharp mask with halos, as cameras and editors make them.", SharpenOptions, _draw, _apply)
