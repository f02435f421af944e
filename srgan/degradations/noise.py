"""Noise: Gaussian, Poisson, speckle and that of an image sensor."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn, column, normal, random_field

LUMA = (0.299, 0.587, 0.114)
BAYER = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))  # rows and columns, modulo 2, of the red, green and blue pixels of a sensor


class NoiseOptions(StepOptions):
    """Random noise of each pixel."""

    kinds: Annotated[Weights, among("gaussian", "poisson", "speckle", "sensor")] = option(
        {"gaussian": 0.5, "poisson": 0.5}, "weights of the kinds of noise: gaussian, poisson, speckle, sensor"
    )
    sigma: Annotated[Range, within(0, 255)] = option(
        (1.0, 30.0), "standard deviation of Gaussian noise, and of speckle at white, in levels of 255"
    )
    scale: Annotated[Range, within(0, 100)] = option((0.05, 3.0), "strength of Poisson noise. 1 is the noise of 255 photons at white")
    shot: Annotated[Range, within(1e-6, 1)] = option(
        (0.0001, 0.012), "variance of the shot noise of a sensor at white. Draws are uniform in the logarithm"
    )
    grey: float = option(0.4, "share of the images whose noise is equal in the three colours", ge=0, le=1)
    correlated: float = option(0.0, "share of the Gaussian noise of several colours that is correlated between them", ge=0, le=1)


def _draw(options: NoiseOptions, state: Drawing) -> Drawn | None:
    draws = state.draws
    kind, seed = draws.choose(options.kinds), draws.seed()
    if kind == "sensor":
        shot = math.exp(draws.uniform(*map(math.log, options.shot)))
        # Brooks et al. 2019, "Unprocessing images for learned raw denoising", section 3.1, fitted to real cameras.
        read = math.exp(2.18 * math.log(shot) + 1.2)
        return {"kind": kind, "shot": shot, "read": read, "corner": [draws.integer(0, 1), draws.integer(0, 1)], "seed": seed}
    strength = draws.uniform(*(options.scale if kind == "poisson" else options.sigma))
    drawn = {"kind": kind, "grey": draws.chance(options.grey), "strength": strength, "seed": seed}
    if kind == "gaussian" and not drawn["grey"] and options.correlated and draws.chance(options.correlated):
        # Zhang et al. 2021 (BSRGAN), section 3.3: the strongest noise with a random covariance of the colours.
        axes = np.linalg.qr([[draws.uniform(-1, 1) for _ in LUMA] for _ in LUMA])[0]
        mixing = axes * np.sqrt([draws.uniform() for _ in LUMA])
        drawn |= {"strength": options.sigma[1], "mixing": mixing.tolist()}
    return drawn


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    sensor = [i for i, one in enumerate(drawn) if one["kind"] == "sensor"]
    others = [i for i, one in enumerate(drawn) if one["kind"] != "sensor"]
    for chosen, add in ((others, _add), (sensor, _add_in_sensor)):
        if chosen:
            batch = batch.replace(chosen, add(batch.select(chosen), [drawn[i] for i in chosen]))
    return batch


def _alone(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Do the same with NumPy, whose calls take a fraction of the time of torch's for patches."""
    if drawn["kind"] == "sensor":
        return _add_in_sensor(Batch.of_one(image), [drawn]).pixels[0].numpy()
    noise = _field(drawn, image.shape[1:], torch.device("cpu")).numpy()
    if drawn["kind"] == "gaussian":
        noise *= drawn["strength"] / 255
    else:
        light = (image * np.array(LUMA, np.float32)[:, None, None]).sum(0) if drawn["grey"] else image
        if drawn["kind"] == "poisson":  # torch rounds the square root otherwise than NumPy
            noise *= torch.from_numpy(light / 255).sqrt_().numpy() * drawn["strength"]
        else:
            noise *= light * (drawn["strength"] / 255)
    noisy = image + noise
    return noisy.clip(0, 1, out=noisy)


def _add(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    noisy = torch.zeros_like(batch.pixels)
    for result, image, height, width, one in zip(noisy, batch.pixels, batch.heights, batch.widths, drawn, strict=True):
        result[:, :height, :width] = _with_noise(image[:, :height, :width], one)
    return batch.with_pixels(noisy)


def _with_noise(image: Tensor, drawn: Drawn) -> Tensor:
    """Add noise of a standard deviation per pixel.

    Poisson noise is Gaussian noise with the variance of the photons. The third moments differ: the skewness of 255 photons is 0.06.
    """
    noise = _field(drawn, image.shape[1:], image.device)
    if drawn["kind"] == "gaussian":
        noise *= drawn["strength"] / 255
    else:
        light = (image * image.new_tensor(LUMA)[:, None, None]).sum(0) if drawn["grey"] else image
        noise *= light.div(255).sqrt_().mul_(drawn["strength"]) if drawn["kind"] == "poisson" else light * (drawn["strength"] / 255)
    return (image + noise).clamp_(0, 1)


def _field(drawn: Drawn, size: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the normal numbers of each colour, or of all of them."""
    noise = normal(drawn["seed"], (1 if drawn["grey"] else 3, *size), device)
    return torch.tensordot(torch.tensor(drawn["mixing"], device=device), noise, 1) if "mixing" in drawn else noise


def _add_in_sensor(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Add shot and read noise in linear light.

    A pixel of a sensor sees one colour of the Bayer pattern. The noise of the other two is interpolated bilinearly from the neighbours, so
    it is correlated. The image itself keeps its detail: cameras interpolate it better than that.
    """
    pixels = batch.pixels
    linear = _to_linear(pixels)
    shot, read = column([one["shot"] for one in drawn], pixels), column([one["read"] for one in drawn], pixels)
    noise = random_field(batch, [one["seed"] for one in drawn], 1) * (linear * shot + read).sqrt()
    seen = _mosaic(batch, [one["corner"] for one in drawn])
    cross = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]])
    square = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    kernels = torch.stack([square, cross, square])[:, None].to(pixels.device)
    total, weight = (functional.conv2d(planes, kernels, padding=1, groups=3) for planes in (noise * seen, seen))
    return batch.with_pixels(_from_linear((linear + total / weight.clamp_(min=1)).clamp_(0, 1)))


def _mosaic(batch: Batch, corners: Sequence[Sequence[int]]) -> Tensor:
    """Return 1 where a pixel of the sensor sees a colour, `(N, 3, H, W)`, and 0 elsewhere and outside the images."""
    height, width = batch.pixels.shape[2:]
    seen = torch.zeros(len(corners), 3, height, width)
    for one, (down, right), rows, columns in zip(seen, corners, batch.heights, batch.widths, strict=True):
        for colour, places in enumerate(BAYER):
            for row, place in places:
                one[colour, (row + down) % 2 : rows : 2, (place + right) % 2 : columns : 2] = 1
    return seen.to(batch.pixels.device, non_blocking=True)


def _to_linear(pixels: Tensor) -> Tensor:
    """Return linear light of sRGB values (IEC 61966-2-1)."""
    return torch.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)


def _from_linear(light: Tensor) -> Tensor:
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


NOISE = Degradation(
    "noise",
    "Gaussian and Poisson noise (Real-ESRGAN, Wang et al. 2021, section 3.1), speckle, and the noise of an image sensor.",
    NoiseOptions,
    _draw,
    _apply,
    alone=_alone,
)
