"""Artifacts that PSNR and LPIPS hardly measure: colour shift, a repeating grid, over-sharpening."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srgan.metrics.psnr_ssim import luma

_ROWS = 64  # rows of a strip: its intermediate results fit into a core's cache

_NO_EDGE = 0.01  # levels a pixel: of two flat images, none is the sharper


def color_shift(sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """The largest difference of the mean of a colour, in 8-bit levels, of `(N, 3, H, W)` images in 0..1; a scalar."""
    return (sr_image - hr_image).mean(dim=(0, 2, 3)).abs().max() * 255


def checkerboard(image: Tensor, scale: int) -> Tensor:
    """Strength of a fixed grid in `(N, 3, H, W)` images in 0..1: standard deviation in 8-bit levels, a scalar.

    Each pixel minus the mean of its neighbours, averaged over all positions of the grid's `scale` x `scale` cell: what photographs show
    there cancels out, what the upsampling stamps on every cell remains (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
    """
    cells, count = _cells(image, scale)
    return cells.div(max(count, 1)).std(correction=0) * 255


def _cells(image: Tensor, scale: int) -> tuple[Tensor, int]:
    """The details of all cells added up, `(scale, scale)`, and how many they are; a border of `scale` does not count."""
    grey = image.mean(dim=1, keepdim=True)
    detail = (grey - functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False))[..., scale:-scale, scale:-scale]
    height, width = (size // scale * scale for size in detail.shape[2:])
    cells = detail[..., :height, :width].reshape(len(detail), height // scale, scale, width // scale, scale)
    return cells.sum(dim=(0, 1, 3)), cells.numel() // scale**2


def look(sr_image: np.ndarray, hr_image: np.ndarray, scale: int) -> dict[str, float]:
    """What an `(H, W, 3)` uint8 image looks like beside its original.

    - `color_shift`: the largest difference of the mean of a colour, in 8-bit levels.
    - `checkerboard`: strength of a grid that repeats every `scale` pixels, see the function of that name.
    - `sharpness`: mean gradient of the luma, as a share of the original's: below 1 blurred, above 1 over-sharpened.
    """
    shift = np.abs(np.subtract(cv2.mean(sr_image), cv2.mean(hr_image))).max()
    cells, count = torch.zeros(scale, scale, dtype=torch.float64), 0
    step = _ROWS * scale
    for top in range(0, sr_image.shape[0] - 2 * scale, step):
        strip = torch.from_numpy(sr_image[top : top + step + 2 * scale]).permute(2, 0, 1)[None].float().div_(255)
        sums, number = _cells(strip, scale)
        cells, count = cells + sums, count + number
    return {
        "color_shift": float(shift),
        "checkerboard": float(cells.div(max(count, 1)).std(correction=0) * 255),
        "sharpness": (_gradient(sr_image) + _NO_EDGE) / (_gradient(hr_image) + _NO_EDGE),
    }


def _gradient(image: np.ndarray) -> float:
    """Mean strength of the edges of an `(H, W, 3)` uint8 image, by central differences of its luma."""
    total = 0.0
    for top in range(1, image.shape[0] - 1, _ROWS):
        y = luma(image[top - 1 : top + _ROWS + 1])
        across, down = y[1:-1, 2:] - y[1:-1, :-2], y[2:, 1:-1] - y[:-2, 1:-1]
        total += float(np.sqrt(across * across + down * down).sum(dtype=np.float64))
    return total / 2 / max((image.shape[0] - 2) * (image.shape[1] - 2), 1)
