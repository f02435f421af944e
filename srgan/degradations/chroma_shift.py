"""Displaced colour planes: lateral chromatic aberration and misaligned chroma of analogue video."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column
from srgan.degradations.colours import to_rgb, to_ycbcr
from srgan.degradations.filters import separable


class ChromaShiftOptions(StepOptions):
    """Shift of colour planes by parts of a pixel."""

    kinds: Annotated[Weights, among("rgb", "chroma")] = option(
        {"rgb": 0.5, "chroma": 0.5}, "weights of the shifts: red against blue (rgb), or both colour differences against the luma (chroma)"
    )
    shift: Annotated[Range, within(0, 16)] = option((0.3, 2.0), "length of the shift in pixels")


def _draw(options: ChromaShiftOptions, state: Drawing) -> Drawn:
    kind, shift, angle = state.draws.choose(options.kinds), state.draws.uniform(*options.shift), state.draws.uniform(0, 2 * math.pi)
    return {"kind": kind, "down": shift * math.sin(angle), "right": shift * math.cos(angle)}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    rgb = column([one["kind"] == "rgb" for one in drawn], batch.pixels).bool()
    planes = batch.with_pixels(torch.where(rgb, batch.pixels, to_ycbcr(batch.pixels)))
    factors = [(1.0, 0.0, -1.0) if one["kind"] == "rgb" else (0.0, 1.0, 1.0) for one in drawn]
    longest = max(abs(one[key]) for one in drawn for key in ("down", "right"))
    rows, columns = (
        torch.stack([_shifts([one[key] * factor for factor in of_planes], longest) for one, of_planes in zip(drawn, factors, strict=True)])
        for key in ("down", "right")
    )
    shifted = separable(planes, rows.to(batch.pixels, non_blocking=True), columns.to(batch.pixels, non_blocking=True))
    return batch.with_pixels(torch.where(rgb, shifted, to_rgb(shifted)).clamp_(0, 1))


def _shifts(distances: Sequence[float], longest: float) -> torch.Tensor:
    """Return kernels that shift by each distance with linear interpolation, `(len(distances), K)`."""
    radius = math.ceil(longest)
    return (1 - (torch.arange(-radius, radius + 1) + torch.tensor(distances)[:, None]).abs()).clamp(min=0)


CHROMA_SHIFT = Degradation(
    "chroma_shift",
    "Colour planes displaced by parts of a pixel, as by cheap lenses and analogue video.",
    ChromaShiftOptions,
    _draw,
    _apply,
    not_after={"grayscale": "the image has no colours"},
)
