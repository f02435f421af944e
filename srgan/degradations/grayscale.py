"""Grayscale: the input of colourisation."""

from collections.abc import Sequence

from srgan.config.recipe import StepOptions
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.colours import luma


def _draw(options: StepOptions, state: Drawing) -> Drawn:
    return {}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    return batch.with_pixels(luma(batch.pixels).expand_as(batch.pixels))


GRAYSCALE = Degradation(
    "grayscale",
    "Three equal channels: the luma of BT.601, as in the metrics.",
    StepOptions,
    _draw,
    _apply,
    not_after={"grayscale": "the image has no colours"},
)
