"""Artifacts that PSNR and LPIPS hardly measure: colour shift, a repeating grid, over-sharpening."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srgan.metrics.metric import Metric, Sample
from srgan.metrics.psnr_ssim import luma

_ROWS_PER_STRIP = 64  # intermediate results of a strip fit into the cache of a core

_MIN_GRADIENT = 0.01  # levels per pixel, added to both gradients: the ratio of two flat images is 1


def color_shift(sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """Return the largest difference between the channel means of two `(N, channels, H, W)` batches in 0..1, a scalar in 8-bit levels."""
    return (sr_image - hr_image).mean(dim=(0, 2, 3)).abs().max() * 255


def checkerboard(image: Tensor, scale: int) -> Tensor:
    """Return the strength of a fixed grid in `(N, channels, H, W)` images in 0..1, a scalar in 8-bit levels.

    The mean of its neighbours is subtracted from each pixel. The result is averaged over all cells of `scale` x `scale` pixels. Image
    content cancels out, and a pattern that the upsampling repeats in every cell remains. The strength is the standard deviation of the
    averaged cell (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
    """
    cells, count = _cells(image, scale)
    return cells.div(max(count, 1)).std(correction=0) * 255


def _cells(image: Tensor, scale: int) -> tuple[Tensor, int]:
    """Return the sum of the details of all cells, `(scale, scale)`, and the number of cells. A border of `scale` pixels is left out."""
    grey = image.mean(dim=1, keepdim=True)
    detail = (grey - functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False))[..., scale:-scale, scale:-scale]
    height, width = (size // scale * scale for size in detail.shape[2:])
    cells = detail[..., :height, :width].reshape(len(detail), height // scale, scale, width // scale, scale)
    return cells.sum(dim=(0, 1, 3)), cells.numel() // scale**2


def artifact_metrics(sr_image: np.ndarray, hr_image: np.ndarray, scale: int) -> dict[str, float]:
    """Return `color_shift`, `checkerboard` and `sharpness` of an `(H, W, 3)` uint8 image and its ground truth."""
    sample = Sample(sr_image, hr_image, scale=scale)
    return {"color_shift": _color_shift(sample), "checkerboard": _checkerboard(sample), "sharpness": _sharpness(sample)}


def _color_shift(sample: Sample) -> float:
    return float(np.abs(np.subtract(cv2.mean(sample.sr_image), cv2.mean(sample.hr_rgb))).max())


def _checkerboard(sample: Sample) -> float:
    """Return `checkerboard` of the whole image, computed strip by strip."""
    image, scale = sample.sr_image, sample.scale
    cells, count = torch.zeros(scale, scale, dtype=torch.float64), 0
    step = _ROWS_PER_STRIP * scale
    for top in range(0, image.shape[0] - 2 * scale, step):
        strip = torch.from_numpy(image[top : top + step + 2 * scale]).permute(2, 0, 1)[None].float().div_(255)
        sums, number = _cells(strip, scale)
        cells, count = cells + sums, count + number
    return float(cells.div(max(count, 1)).std(correction=0) * 255)


def _sharpness(sample: Sample) -> float:
    return (_gradient(sample.sr_image) + _MIN_GRADIENT) / (_gradient(sample.hr_rgb) + _MIN_GRADIENT)


def _gradient(image: np.ndarray) -> float:
    """Return the mean gradient of the luma of an `(H, W, 3)` uint8 image, by central differences."""
    total = 0.0
    for top in range(1, image.shape[0] - 1, _ROWS_PER_STRIP):
        y = luma(image[top - 1 : top + _ROWS_PER_STRIP + 1])
        across, down = y[1:-1, 2:] - y[1:-1, :-2], y[2:, 1:-1] - y[:-2, 1:-1]
        total += float(np.sqrt(across * across + down * down).sum(dtype=np.float64))
    return total / 2 / max((image.shape[0] - 2) * (image.shape[1] - 2), 1)


COLOR_SHIFT = Metric(
    "color_shift",
    "colour shift",
    "largest difference of a channel mean, in levels of 255",
    better="lower",
    digits=2,
    score=_color_shift,
)
CHECKERBOARD = Metric(
    "checkerboard",
    "checkerboard",
    "strength of a grid with a period of `scale` pixels, in levels of 255 (photographs: about 0.01, visible in flat regions: above 0.2)",
    better="lower",
    digits=3,
    needs=("sr",),
    score=_checkerboard,
)
SHARPNESS = Metric(
    "sharpness",
    "sharpness",
    "mean luma gradient / that of the ground truth (blurred: below 1, over-sharpened: above 1)",
    better="one",
    digits=3,
    score=_sharpness,
)
