"""Blur by a random kernel: Gaussian, generalized Gaussian, plateau, sinc, motion and defocus."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated

import cv2
import numpy as np
import torch
from torch.nn import functional

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn

NEGLIGIBLE = 1e-5  # sum of the outer weights of a kernel that are left out. It changes a pixel by less than 0.003 levels of 255
FOURIER = 130  # weights of a kernel from which OpenCV uses Fourier transforms. That of the kernel then serves all colours of a call
KINDS = (
    "isotropic",
    "anisotropic",
    "generalized_isotropic",
    "generalized_anisotropic",
    "plateau_isotropic",
    "plateau_anisotropic",
    "sinc",
    "motion",
    "defocus",
)


class BlurOptions(StepOptions):
    """Blur by a random kernel."""

    kinds: Annotated[Weights, among(*KINDS)] = option(
        {"isotropic": 0.7, "anisotropic": 0.3}, f"weights of the kinds of kernels: {', '.join(KINDS)}"
    )
    size: Annotated[Range, within(1, 101)] = option(
        (7.0, 21.0), "smallest and largest side of a Gaussian, plateau or sinc kernel in pixels. A draw is odd"
    )
    sigma: Annotated[Range, within(0.01, 50)] = option((0.2, 3.0), "standard deviations of Gaussian and plateau kernels in pixels")
    beta_gaussian: Annotated[Range, within(0.1, 20)] = option(
        (0.5, 4.0), "exponents of generalized Gaussian kernels. Half of the draws are below 1"
    )
    beta_plateau: Annotated[Range, within(0.1, 20)] = option((1.0, 2.0), "exponents of plateau kernels. Half of the draws are at most 1")
    cutoff: Annotated[Range, within(0.1, 3.15)] = option((1.0472, 3.1416), "cutoff of sinc kernels in radians per pixel")
    length: Annotated[Range, within(0, 99)] = option((3.0, 15.0), "length of the straight path of motion kernels in pixels")
    radius: Annotated[Range, within(0, 49)] = option((1.0, 5.0), "radius of the disk of defocus kernels in pixels")


def _draw(options: BlurOptions, state: Drawing) -> Drawn:
    draws = state.draws
    kind = draws.choose(options.kinds)
    if kind == "motion":
        length = draws.uniform(*options.length)
        return {"kind": kind, "size": 2 * int(length / 2) + 3, "length": length, "angle": draws.uniform(0, math.pi)}
    if kind == "defocus":
        radius = draws.uniform(*options.radius)
        return {"kind": kind, "size": 2 * int(radius + 0.5) + 1, "radius": radius}
    low, high = (int(side) for side in options.size)
    size = 2 * draws.integer(low // 2, max((high - 1) // 2, low // 2)) + 1
    if kind == "sinc":
        return {"kind": kind, "size": size, "cutoff": draws.uniform(*options.cutoff)}
    width = draws.uniform(*options.sigma)
    height, angle = (draws.uniform(*options.sigma), draws.uniform(0, math.pi)) if "anisotropic" in kind else (width, 0.0)
    beta = 1.0
    if kind.startswith(("generalized", "plateau")):
        lowest, highest = options.beta_gaussian if kind.startswith("generalized") else options.beta_plateau
        middle = min(max(1.0, lowest), highest)
        beta = draws.uniform(lowest, middle) if draws.chance(0.5) else draws.uniform(middle, highest)
    return {"kind": kind, "size": size, "sigma": [width, height], "angle": angle, "beta": beta}


def kernels(drawn: Sequence[Drawn]) -> np.ndarray:
    """Return the kernels of some images.

    Args:
        drawn: the parameters of each kernel. `size` is odd.

    Returns:
        `(N, K, K)` float64 with the largest `size` as K. Each kernel has the sum 1 and is 0 outside its own size.
    """
    half = max(one["size"] for one in drawn) // 2
    y, x = _grid(half)[:, : half + 1]  # every kernel is symmetric around its centre
    result = np.empty((len(drawn), 2 * half + 1, 2 * half + 1))
    forms = [_FORMS.get(one["kind"], _plateau if one["kind"].startswith("plateau") else _gaussian) for one in drawn]
    for form in set(forms):
        chosen = [i for i, other in enumerate(forms) if other is form]
        result[chosen, : half + 1] = form(x, y, [drawn[i] for i in chosen])
    result[:, half + 1 :] = result[:, :half][:, ::-1, ::-1]
    sides = [one["size"] for one in drawn]
    if min(sides) < max(sides):
        result *= _rings(half).reshape(result.shape[1:]) <= _column(sides) / 2
    return result / result.sum((1, 2), keepdims=True)


@functools.cache
def _grid(half: int) -> np.ndarray:
    return np.mgrid[-half : half + 1, -half : half + 1].astype(float)


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, float)[:, None, None]


def _turned(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates along and across the direction of each kernel."""
    angle = _column([one["angle"] for one in drawn])
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _powers(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return the squared distance in standard deviations to the power of beta."""
    along, across = _turned(x, y, drawn)
    squared = (along / _column([one["sigma"][0] for one in drawn])) ** 2 + (across / _column([one["sigma"][1] for one in drawn])) ** 2
    betas = [one["beta"] for one in drawn]
    return squared if betas == [1.0] * len(betas) else squared ** _column(betas)


def _gaussian(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return generalized Gaussian kernels (Liu et al. 2020, as used by Real-ESRGAN). A beta of 1 is the Gaussian."""
    return np.exp(-0.5 * _powers(x, y, drawn))


def _plateau(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return plateau-shaped kernels (Real-ESRGAN, section 3.1)."""
    return 1 / (1 + _powers(x, y, drawn))


def _sinc(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return ideal circular low-pass filters (Real-ESRGAN, equation 5). They make ringing."""
    cutoff, distance = _column([one["cutoff"] for one in drawn]), np.hypot(x, y)
    centre = distance == 0
    distance = np.where(centre, 1.0, distance)
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * distance)).numpy()
    return np.where(centre, cutoff**2 / (4 * math.pi), cutoff * bessel / (2 * math.pi * distance))


def _motion(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return straight lines of one pixel width with soft edges."""
    along, across = _turned(x, y, drawn)
    ends = np.clip(_column([one["length"] for one in drawn]) / 2 + 0.5 - np.abs(along), 0, 1)
    return ends * np.maximum(1 - np.abs(across), 0)


def _defocus(x: np.ndarray, y: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """Return disks with soft edges."""
    return np.clip(_column([one["radius"] for one in drawn]) + 0.5 - np.hypot(x, y), 0, 1)


Form = Callable[[np.ndarray, np.ndarray, Sequence[Drawn]], np.ndarray]
_FORMS: dict[str, Form] = {"sinc": _sinc, "motion": _motion, "defocus": _defocus}


def _with_filters(drawn: Sequence[Drawn]) -> list[Drawn]:
    """Return the parameters with the kernels without their negligible borders, and with the factors of those of rank 1."""
    all_kernels = kernels(drawn)
    middle = all_kernels.shape[1] // 2
    rows, columns = all_kernels.sum(2), all_kernels.sum(1)
    separable = np.abs(all_kernels - rows[:, :, None] * columns[:, None]).max((1, 2)) < NEGLIGIBLE / all_kernels[0].size
    filters = []
    for i, half in enumerate(_halves(all_kernels)):
        inside = slice(middle - half, middle + half + 1)
        factors = (columns[i, inside], rows[i, inside]) if separable[i] else None
        filters.append(drawn[i] | {"kernel": all_kernels[i, inside, inside], "factors": factors})
    return filters


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Convolve each image with its own kernel. Borders are mirrored."""
    all_kernels = kernels(drawn)
    middle = all_kernels.shape[1] // 2
    half = max(_halves(all_kernels))
    inside = slice(middle - half, middle + half + 1)
    weights = torch.from_numpy(all_kernels[:, inside, inside].astype(np.float32)).to(batch.pixels.device, non_blocking=True)
    bordered = batch.extended(half, half)
    count, channels = bordered.shape[:2]
    filters = weights[:, None].expand(-1, channels, -1, -1).reshape(count * channels, 1, *weights.shape[1:])
    blurred = functional.conv2d(bordered.reshape(1, count * channels, *bordered.shape[2:]), filters, groups=count * channels)
    return batch.with_pixels(blurred.view(batch.pixels.shape).clamp_(0, 1))


def _alone(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    # OpenCV is faster than torch here: 0.4 ms against 1.5 ms for a patch of 96 and a kernel of 21, and a kernel of rank 1 takes 0.1 ms.
    blurred, kernel = np.empty_like(image, order="C"), drawn["kernel"]
    if not drawn["factors"] and kernel.size >= FOURIER:
        colours = cv2.filter2D(cv2.merge([*image]), -1, kernel, borderType=cv2.BORDER_REFLECT)
        cv2.split(colours, [*blurred])
        return blurred.clip(0, 1, out=blurred)
    for plane, result in zip(image, blurred, strict=True):
        if drawn["factors"]:
            across, down = drawn["factors"]
            cv2.sepFilter2D(plane, -1, across, down, dst=result, borderType=cv2.BORDER_REFLECT)
        else:
            cv2.filter2D(plane, -1, kernel, dst=result, borderType=cv2.BORDER_REFLECT)
    return blurred.clip(0, 1, out=blurred)


def _halves(all_kernels: np.ndarray) -> list[int]:
    """Return the number of pixels on each side of the centre of every kernel outside which the weights are negligible."""
    half = all_kernels.shape[1] // 2
    outside = np.abs(all_kernels).reshape(len(all_kernels), -1) @ _around(half)
    return [int(count) - 1 for count in (outside >= NEGLIGIBLE).sum(1)]


@functools.cache
def _rings(half: int) -> np.ndarray:
    return np.abs(_grid(half)).max(0).astype(int).ravel()


@functools.cache
def _around(half: int) -> np.ndarray:
    """Return 1 for each weight and each ring if the weight is on the ring or outside it."""
    return (_rings(half)[:, None] >= np.arange(half + 1)).astype(float)


BLUR = Degradation(
    "blur",
    "Blur by Gaussian, generalized Gaussian, plateau and sinc kernels (Real-ESRGAN, Wang et al. 2021, section 3.1), motion and defocus.",
    BlurOptions,
    _draw,
    _apply,
    alone=_alone,
    together=_with_filters,
)
