"""Film grain."""

from collections.abc import Sequence
from typing import Annotated

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column, random_field
from srgan.degradations.colours import luma
from srgan.degradations.filters import gaussians, separable


class GrainOptions(StepOptions):
    """Film grain: correlated, equal in the three colours and strongest at middle grey."""

    sigma: Annotated[Range, within(0, 128)] = option((2.0, 15.0), "standard deviation at middle grey in levels of 255")
    size: Annotated[Range, within(0, 8)] = option((0.4, 1.0), "size of the grains: standard deviation of a Gaussian in pixels")


def _draw(options: GrainOptions, state: Drawing) -> Drawn:
    return {"sigma": state.draws.uniform(*options.sigma), "size": state.draws.uniform(*options.size), "seed": state.draws.seed()}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    pixels = batch.pixels
    kernels = gaussians([one["size"] for one in drawn], pixels)
    field = batch.with_pixels(random_field(batch, [one["seed"] for one in drawn], channels=1))
    grain = separable(field, kernels, kernels) / (kernels**2).sum(-1, keepdim=True)[..., None]  # of standard deviation 1
    brightness = luma(pixels)
    deviation = 2 * column([one["sigma"] / 255 for one in drawn], pixels) * (brightness * (1 - brightness)).clamp_(min=0).sqrt()
    return batch.with_pixels((pixels + grain * deviation).clamp_(0, 1))


GRAIN = Degradation(
    "grain",
    "Film grain: correlated and grey. Its variance follows u(1 - u) of the brightness u (Newson et al. 2017, Boolean model).",
    GrainOptions,
    _draw,
    _apply,
)
