"""Grayscale: the input of colourisation, with colour hints on request."""

from collections.abc import Sequence
from typing import Annotated

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.colours import luma

MAX_HINTS = 64  # each takes three of the random numbers of an image


class GrayscaleOptions(StepOptions):
    """Three equal channels. Hints are small squares that keep their true colours, as strokes of a user would give them."""

    hints: Annotated[Range, within(0, MAX_HINTS)] = option((0, 0), "number of hints in an image. Above 0 the network learns to follow them")
    hint_size: Annotated[Range, within(1, 256)] = option((2, 10), "side of a hint in pixels")


def _draw(options: GrayscaleOptions, state: Drawing) -> Drawn:
    fewest, most = map(round, options.hints)
    if not most:
        return {}
    smallest, largest = map(round, options.hint_size)
    hints = []
    for _ in range(state.draws.integer(fewest, most)):
        size = min(state.draws.integer(smallest, largest), state.height, state.width)
        hints.append([state.draws.integer(0, state.height - size), state.draws.integer(0, state.width - size), size])
    return {"hints": hints}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    pixels = luma(batch.pixels).expand_as(batch.pixels)
    if any(one.get("hints") for one in drawn):
        pixels = pixels.clone()
        for grey, colours, one in zip(pixels, batch.pixels, drawn, strict=True):
            for top, left, size in one["hints"]:
                place = slice(top, top + size), slice(left, left + size)
                grey[:, *place] = colours[:, *place]
    return batch.with_pixels(pixels)


GRAYSCALE = Degradation(
    "grayscale",
    "Three equal channels: the luma of BT.601, as in the metrics. Some squares may keep their colours, as hints (Zhang et al. 2017).",
    GrayscaleOptions,
    _draw,
    _apply,
    not_after={"grayscale": "the image has no colours"},
)
