"""Resize: to any size by area, bilinear or bicubic interpolation, and to the size of the LR image."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.bicubic import cubic

MIN_SIDE = 4  # pixels of the smallest side after a resize
BLOCK = 256  # new rows or columns that one product of matrices makes. It bounds memory and time of large images
CACHE_BYTES = 64_000_000  # of weights

Modes = Annotated[Weights, among("area", "bilinear", "bicubic")]
ANTIALIAS = "whether reductions are antialiased, as in MATLAB. Else bilinear and bicubic are those of OpenCV and PyTorch"


class ResizeOptions(StepOptions):
    """Resize by a random factor and a random interpolation."""

    directions: Annotated[Weights, among("up", "down", "keep")] = option(
        {"up": 0.2, "down": 0.7, "keep": 0.1}, "weights of enlarging, reducing and keeping the size"
    )
    factor: Annotated[Range, within(0.01, 10)] = option((0.15, 1.5), "smallest and largest factor")
    relative_to: Literal["image", "lr_image"] = option("image", "size that the factor multiplies")
    modes: Modes = option({"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}, "weights of the interpolations")
    antialias: bool = option(True, ANTIALIAS)


class DownscaleOptions(StepOptions):
    """Resize to the size of the LR image."""

    modes: Modes = option({"bicubic": 1.0}, "weights of the interpolations: area, bilinear and bicubic")
    antialias: bool = option(True, ANTIALIAS)


def _draw_resize(options: ResizeOptions, state: Drawing) -> Drawn | None:
    direction = state.draws.choose(options.directions)
    low, high = options.factor
    low, high = (max(low, 1.0), max(high, 1.0)) if direction == "up" else (min(low, 1.0), min(high, 1.0))
    factor, mode = state.draws.uniform(low, high), state.draws.choose(options.modes)
    factor = 1.0 if direction == "keep" else factor
    height, width = (state.height, state.width) if options.relative_to == "image" else state.target
    return _to_size(state, mode, options.antialias, max(round(height * factor), MIN_SIDE), max(round(width * factor), MIN_SIDE))


def _draw_downscale(options: DownscaleOptions, state: Drawing) -> Drawn | None:
    return _to_size(state, state.draws.choose(options.modes), options.antialias, *state.target)


def _to_size(state: Drawing, mode: str, antialias: bool, height: int, width: int) -> Drawn | None:
    if (height, width) == (state.height, state.width):
        return None
    state.height, state.width = height, width
    return {"mode": mode, "height": height, "width": width} | ({} if antialias else {"antialias": False})


def resize(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    """Resize each image to its `height` and `width` with its `mode`."""
    heights, widths = tuple(one["height"] for one in drawn), tuple(one["width"] for one in drawn)
    kinds = [(one["mode"], one.get("antialias", True)) for one in drawn]
    pixels = _along(batch.pixels.mT, batch.widths, widths, kinds).mT
    pixels = _along(pixels, batch.heights, heights, kinds)
    return Batch(pixels.clamp_(0, 1), heights, widths)


def _alone(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Resize by OpenCV, which takes a third of the time of matrices for patches. It has no antialias, and its larger area is bilinear."""
    mode, height, width = drawn["mode"], drawn["height"], drawn["width"]
    if drawn.get("antialias", True) or (mode == "area" and (height > image.shape[1] or width > image.shape[2])):
        return resize(Batch.of_one(image), [drawn]).pixels[0].numpy()
    resized = np.empty((3, height, width), np.float32)
    for plane, result in zip(image, resized, strict=True):
        cv2.resize(plane, (width, height), dst=result, interpolation=_OPENCV[mode])
    return resized.clip(0, 1, out=resized)


def _along(pixels: Tensor, before: Sequence[int], after: Sequence[int], kinds: Sequence[tuple[str, bool]]) -> Tensor:
    """Resize the rows of images."""
    parts = []
    for start in range(0, max(after), BLOCK):
        stop = min(start + BLOCK, max(after))
        blocks = [_BLOCKS(old, new, *kind, start) for old, new, kind in zip(before, after, kinds, strict=True)]
        low, high = min(first for first, _ in blocks), max(first + weights.shape[1] for first, weights in blocks)
        if len(blocks) == 1:
            matrices = blocks[0][1][None]
        else:
            matrices = torch.zeros(len(blocks), stop - start, high - low)
            for matrix, (first, weights) in zip(matrices, blocks, strict=True):
                matrix[: weights.shape[0], first - low : first - low + weights.shape[1]] = weights
        # What is outside an image has weight 0. It may be anything but infinite or NaN.
        parts.append(matrices[:, None].to(pixels.device, non_blocking=True) @ pixels[:, :, low:high])
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


class _BlockCache:
    """The weights of blocks, with a bound on their bytes. The longest unused are dropped first."""

    def __init__(self) -> None:
        self.blocks: OrderedDict[tuple[int, int, str, bool, int], tuple[int, Tensor]] = OrderedDict()
        self.bytes = 0

    def __call__(self, old: int, new: int, mode: str, antialias: bool, start: int) -> tuple[int, Tensor]:
        key = old, new, mode, antialias, start
        if key in self.blocks:
            self.blocks.move_to_end(key)
            return self.blocks[key]
        found = self.blocks[key] = _weights(*key)
        self.bytes += found[1].nbytes
        while self.bytes > CACHE_BYTES:
            self.bytes -= self.blocks.popitem(last=False)[1][1].nbytes
        return found


_BLOCKS = _BlockCache()


def _weights(old: int, new: int, mode: str, antialias: bool, start: int) -> tuple[int, Tensor]:
    """Return the weights of old pixels for the new pixels of a block, and the first of the old.

    Borders are mirrored if the resize is antialiased. Else the edge pixel is repeated.
    """
    kernel, support = _KERNELS[mode if antialias or mode != "bicubic" else "sharp_bicubic"]
    ratio = old / new
    width = ratio if mode == "area" else max(ratio, 1.0) if antialias else 1.0  # wider against aliasing
    centres = (np.arange(start, min(start + BLOCK, new)) + 0.5) * ratio - 0.5
    if not len(centres):
        return 0, torch.zeros(0, 1)
    first = np.floor(centres - support * width - 0.5).astype(int) + 1
    positions = first[:, None] + np.arange(int(np.ceil(2 * support * width)) + 1)
    weights = kernel(np.abs(centres[:, None] - positions), width)
    weights /= weights.sum(1, keepdims=True)
    inside = positions % (2 * old)
    inside = np.minimum(inside, 2 * old - 1 - inside) if antialias else positions.clip(0, old - 1)
    low = int(inside.min())
    matrix = np.zeros((len(centres), int(inside.max()) + 1 - low), np.float32)
    np.add.at(matrix, (np.arange(len(centres))[:, None], inside - low), weights)
    return low, torch.from_numpy(matrix)


def _area(distance: np.ndarray, width: float) -> np.ndarray:
    """Return the part of each pixel that a box of this width covers."""
    return np.clip((width + 1) / 2 - distance, 0, min(1.0, width))


def _bilinear(distance: np.ndarray, width: float) -> np.ndarray:
    return np.maximum(1 - distance / width, 0)


def _bicubic(distance: np.ndarray, width: float) -> np.ndarray:
    return cubic(distance / width)


def _sharp_bicubic(distance: np.ndarray, width: float) -> np.ndarray:
    """Return the cubic kernel with a = -0.75, as in OpenCV and torch."""
    x = distance
    near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


Kernel = Callable[[np.ndarray, float], np.ndarray]  # of the distance and the width in old pixels
_KERNELS: dict[str, tuple[Kernel, float]] = {
    "area": (_area, 0.5),
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
    "sharp_bicubic": (_sharp_bicubic, 2.0),
}
_OPENCV = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

RESIZE = Degradation(
    "resize",
    "Resize by a random factor (Real-ESRGAN, Wang et al. 2021, section 3.1).",
    ResizeOptions,
    _draw_resize,
    resize,
    alone=_alone,
    not_after={"downscale": "the image has its final size"},
)
DOWNSCALE = Degradation("downscale", "Resize to the size of the LR image.", DownscaleOptions, _draw_downscale, resize, alone=_alone)
