"""Noise: Gaussian and Poisson, of each colour or grey."""

from collections.abc import Sequence

import torch

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column, random_field


class NoiseOptions(StepOptions):
    """Random noise of each pixel."""

    kinds: Weights = option({"gaussian": 0.5, "poisson": 0.5}, "weights of the kinds of noise")
    sigma: Range = option((1.0, 30.0), "standard deviation of Gaussian noise in levels of 255")
    scale: Range = option((0.05, 3.0), "strength of Poisson noise. 1 is the noise of 255 photons at white")
    grey: float = option(0.4, "share of the images whose noise is equal in the three colours", ge=0, le=1)


def _draw(options: NoiseOptions, state: Drawing) -> Drawn | None:
    kind, grey = state.draws.choose(options.kinds), state.draws.chance(options.grey)
    strength = state.draws.uniform(*(options.sigma if kind == "gaussian" else options.scale))
    return {"kind": kind, "grey": grey, "strength": strength, "seed": state.draws.seed()}


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Add noise. Poisson noise is approximated by Gaussian noise whose variance is proportional to the brightness."""
    pixels = batch.pixels
    field = random_field(batch, [one["seed"] for one in drawn])
    grey = column([one["grey"] for one in drawn], pixels).bool()
    field = torch.where(grey, field[:, :1], field)
    gaussian = column([one["strength"] / 255 if one["kind"] == "gaussian" else 0 for one in drawn], pixels)
    poisson = column([one["strength"] if one["kind"] == "poisson" else 0 for one in drawn], pixels)
    deviation = gaussian + poisson * (pixels / 255).sqrt()
    return batch.with_pixels((pixels + field * deviation).clamp_(0, 1))


NOISE = Degradation("noise", "Gaussian or Poisson noise (Real-ESRGAN, Wang et al. 2021, section 3.1).", NoiseOptions, _draw, _apply)
