"""Posterising: few levels, which turn smooth areas into bands."""

from collections.abc import Sequence
from typing import Annotated

import torch

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column
from srgan.degradations.colours import to_rgb, to_ycbcr


class PosterizeOptions(StepOptions):
    """Few levels of each colour, or of the colour differences alone."""

    kinds: Annotated[Weights, among("rgb", "chroma")] = option(
        {"rgb": 0.5, "chroma": 0.5}, "weights of few levels of red, green and blue (rgb) or of both colour differences (chroma)"
    )
    levels: Annotated[Range, within(2, 256)] = option((8, 48), "number of levels")


def _draw(options: PosterizeOptions, state: Drawing) -> Drawn:
    return {"kind": state.draws.choose(options.kinds), "levels": round(state.draws.uniform(*options.levels))}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    steps = column([one["levels"] - 1 for one in drawn], batch.pixels)
    rgb = column([one["kind"] == "rgb" for one in drawn], batch.pixels).bool()
    planes = to_ycbcr(batch.pixels)
    chroma = torch.cat([planes[:, :1], (planes[:, 1:] * steps).round_() / steps], 1)  # a colour difference of 0 stays 0
    return batch.with_pixels(torch.where(rgb, (batch.pixels * steps).round_() / steps, to_rgb(chroma).clamp_(0, 1)))


POSTERIZE = Degradation("posterize", "Few levels of the colours or of the chroma: bands in smooth areas.", PosterizeOptions, _draw, _apply)
