"""Fading of old photographs."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column
from srgan.degradations.colours import luma

# What a full cast does to red, green and blue: factor of white, addition to black, exponent of the tones between.
_CASTS = {
    "yellow": ((1.0, 0.90, 0.65), (0.07, 0.03, 0.0), (0.9, 1.05, 1.35)),  # the paper and the gelatine turn yellow
    "red": ((1.0, 0.82, 0.78), (0.14, 0.0, 0.02), (0.8, 1.1, 1.1)),  # the cyan dye of a colour print fades first
    "blue": ((0.9, 0.95, 1.0), (0.0, 0.02, 0.06), (1.1, 1.05, 0.95)),
}
_PICTURE = (3.0, 10.0)  # size of the whole picture that a patch of a training is part of, in patches


class FadingOptions(StepOptions):
    """Raised black, lowered contrast, a colour cast and uneven light."""

    black: Annotated[Range, within(0, 1)] = option((0.0, 0.2), "level of black after the fading")
    white: Annotated[Range, within(0, 1)] = option((0.8, 1.0), "level of white after the fading")
    saturation: Annotated[Range, within(0, 1)] = option((0.4, 1.0), "saturation that is left. 0 is a grey image")
    casts: Annotated[Weights, among(*_CASTS)] = option({"yellow": 0.6, "red": 0.3, "blue": 0.1}, "weights of the colour casts")
    cast: Annotated[Range, within(0, 1)] = option((0.0, 0.8), "strength of the colour cast")
    vignette: Annotated[Range, within(-1, 1)] = option((-0.3, 0.3), "darkening of the corners. Corners fade to white below 0")


def _draw(options: FadingOptions, state: Drawing) -> Drawn:
    draws = state.draws
    black, white, saturation = (draws.uniform(*span) for span in (options.black, options.white, options.saturation))
    factor, addition, exponent = _CASTS[draws.choose(options.casts)]
    cast, vignette = draws.uniform(*options.cast), draws.uniform(*options.vignette)
    picture = draws.uniform(*_PICTURE) if state.patch else 1.0
    sides = state.height * picture, state.width * picture
    corner = [(side - own) * draws.uniform() for side, own in zip(sides, (state.height, state.width), strict=True)]
    centre = [side * draws.uniform(0.35, 0.65) for side in sides]  # not in the middle: the light is uneven
    return {
        "saturation": saturation,
        "white": [white * (1 - cast * (1 - value)) for value in factor],
        "black": [min(black + cast * value, white) for value in addition],
        "exponent": [1 + cast * (value - 1) for value in exponent],
        "vignette": vignette,
        "centre": [middle - first for middle, first in zip(centre, corner, strict=True)],  # in pixels from the first one
        "radius": math.hypot(*sides) / 2,
    }


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    pixels = torch.lerp(luma(batch.pixels), batch.pixels, column([one["saturation"] for one in drawn], batch.pixels))
    white, black, exponent = (_colours([one[key] for one in drawn], pixels) for key in ("white", "black", "exponent"))
    faded = black + (white - black) * pixels.clamp_(0, 1) ** exponent
    strength = column([one["vignette"] for one in drawn], pixels) * _distances(batch, drawn)
    faded = torch.where(strength > 0, faded * (1 - strength), faded - (white - faded) * strength)
    return batch.with_pixels(faded.clamp_(0, 1))


def _colours(values: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return three numbers per image as `(N, 3, 1, 1)`."""
    return torch.tensor(values).to(like, non_blocking=True)[:, :, None, None]


def _distances(batch: Batch, drawn: Sequence[Drawn]) -> Tensor:
    """Return the squared distance of each pixel from the centre, `(N, 1, H, W)`. 1 is a corner of a centred picture."""
    squares = [
        ((torch.arange(size)[None] + 0.5 - torch.tensor([[one["centre"][axis]] for one in drawn])) ** 2).to(batch.pixels, non_blocking=True)
        for axis, size in enumerate(batch.pixels.shape[2:])
    ]
    radius = column([one["radius"] for one in drawn], batch.pixels)
    return ((squares[0][:, None, :, None] + squares[1][:, None, None, :]) / radius**2).clamp_(max=1)


FADING = Degradation(
    "fading",
    "Old prints: raised black, lowered contrast, less saturation, a yellow, red or blue cast and an uneven vignette.",
    FadingOptions,
    _draw,
    _apply,
)
