"""Filters with a kernel of its own for each image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from srgan.degradations.base import Batch


def separable(batch: Batch, rows: Tensor, columns: Tensor) -> Tensor:
    """Filter each plane of each image down the rows, then along the columns.

    Args:
        batch: the images. Their edges are mirrored.
        rows: weights of the vertical neighbours, `(N, C, K)` with an odd K. C may be 1: the planes of an image then share the kernel.
        columns: weights of the horizontal neighbours, likewise.

    Returns:
        Pixels of the same size.
    """
    planes, size = math.prod(batch.pixels.shape[:2]), rows.shape[-1]
    wide = batch.extended(size // 2, size // 2)
    rows, columns = (kernel.expand(*wide.shape[:2], size).reshape(planes, 1, size, 1) for kernel in (rows, columns))
    filtered = functional.conv2d(wide.reshape(1, planes, *wide.shape[2:]), rows, groups=planes)
    filtered = functional.conv2d(filtered, columns.mT, groups=planes)
    return filtered.reshape(*wide.shape[:2], *filtered.shape[2:])


def gaussians(sigmas: Sequence[float], like: Tensor) -> Tensor:
    """Return a Gaussian kernel per image, `(N, 1, K)` on the device of `like`. Each ends at three standard deviations."""
    radii = [math.ceil(3 * sigma) for sigma in sigmas]
    distance = torch.arange(-max(radii), max(radii) + 1)
    kernels = torch.zeros(len(sigmas), 1, len(distance))
    for kernel, sigma, radius in zip(kernels, sigmas, radii, strict=True):
        weights = torch.exp(-((distance / max(sigma, 1e-3)) ** 2) / 2) * (distance.abs() <= radius)
        kernel[0] = weights / weights.sum()
    return kernels.to(like, non_blocking=True)
