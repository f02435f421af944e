"""Resize: to any size by area, bilinear or bicubic interpolation, and to the size of the LR image."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.bicubic import cubic

MIN_SIDE = 4  # pixels of the smallest side after a resize


class ResizeOptions(StepOptions):
    """Resize by a random factor and a random interpolation."""

    directions: Weights = option({"up": 0.2, "down": 0.7, "keep": 0.1}, "weights of enlarging, reducing and keeping the size")
    factor: Range = option((0.15, 1.5), "smallest and largest factor")
    modes: Weights = option({"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}, "weights of the interpolations")


class DownscaleOptions(StepOptions):
    """Resize to the size of the LR image."""

    modes: Weights = option({"bicubic": 1.0}, "weights of the interpolations: area, bilinear and bicubic")


def _draw_resize(options: ResizeOptions, state: Drawing) -> Drawn | None:
    direction = state.draws.choose(options.directions)
    low, high = options.factor
    low, high = (max(low, 1.0), high) if direction == "up" else (low, min(high, 1.0))
    factor, mode = state.draws.uniform(low, high), state.draws.choose(options.modes)
    if direction == "keep":
        return None
    return _to_size(state, mode, round(state.height * factor), round(state.width * factor))


def _draw_downscale(options: DownscaleOptions, state: Drawing) -> Drawn | None:
    mode = state.draws.choose(options.modes)
    return None if (state.height, state.width) == state.target else _to_size(state, mode, *state.target)


def _to_size(state: Drawing, mode: str, height: int, width: int) -> Drawn:
    state.height, state.width = max(height, MIN_SIDE), max(width, MIN_SIDE)
    return {"mode": mode, "height": state.height, "width": state.width}


def resize(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Resize each image to its `height` and `width` with its `mode`. Reductions are antialiased."""
    heights, widths = tuple(one["height"] for one in drawn), tuple(one["width"] for one in drawn)
    modes = [one["mode"] for one in drawn]
    pixels = batch.pixels
    rows = _matrices(batch.heights, heights, modes, pixels.shape[2]).to(pixels.device, non_blocking=True)
    columns = _matrices(batch.widths, widths, modes, pixels.shape[3]).to(pixels.device, non_blocking=True)
    # What lies outside an image has weight 0. It may be anything but infinite or NaN.
    resized = rows[:, None] @ pixels @ columns[:, None].mT
    return Batch(resized.clamp_(0, 1), heights, widths)


def _matrices(before: Sequence[int], after: Sequence[int], modes: Sequence[str], size: int) -> Tensor:
    """Return the weights of all images, `(N, max(after), size)` float32."""
    matrices = torch.zeros(len(before), max(after), size)
    for matrix, old, new, mode in zip(matrices, before, after, modes, strict=True):
        matrix[:new, :old] = _weights(old, new, mode)
    return matrices


def _weights(old: int, new: int, mode: str) -> Tensor:
    """Return the weights of the old pixels for each new pixel, `(new, old)`. Borders are mirrored, and the edge pixel is repeated."""
    kernel, support = _KERNELS[mode]
    ratio = old / new
    width = ratio if mode == "area" else max(ratio, 1.0)  # wider against aliasing
    centres = (np.arange(new) + 0.5) * ratio - 0.5
    first = np.floor(centres - support * width - 0.5).astype(int) + 1
    positions = first[:, None] + np.arange(int(np.ceil(2 * support * width)) + 1)
    weights = kernel(np.abs(centres[:, None] - positions), width)
    weights /= weights.sum(1, keepdims=True)
    inside = positions % (2 * old)
    matrix = np.zeros((new, old), np.float32)
    np.add.at(matrix, (np.arange(new)[:, None], np.minimum(inside, 2 * old - 1 - inside)), weights)
    return torch.from_numpy(matrix)


def _area(distance: np.ndarray, width: float) -> np.ndarray:
    """Return the part of each pixel that a box of this width covers."""
    return np.clip((width + 1) / 2 - distance, 0, min(1.0, width))


def _bilinear(distance: np.ndarray, width: float) -> np.ndarray:
    return np.maximum(1 - distance / width, 0)


def _bicubic(distance: np.ndarray, width: float) -> np.ndarray:
    return cubic(distance / width)


Kernel = Callable[[np.ndarray, float], np.ndarray]  # of the distance and the width in old pixels
_KERNELS: dict[str, tuple[Kernel, float]] = {"area": (_area, 0.5), "bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0)}

RESIZE = Degradation(
    "resize",
    "Resize by a random factor (Real-ESRGAN, Wang et al. 2021, section 3.1).",
    ResizeOptions,
    _draw_resize,
    resize,
    not_after={"downscale": "the image has its final size"},
)
DOWNSCALE = Degradation("downscale", "Resize to the size of the LR image.", DownscaleOptions, _draw_downscale, resize)
