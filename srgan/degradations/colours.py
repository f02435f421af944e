"""Luma and colour differences of RGB images."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # BT.601, as in the metrics and in JPEG files

_TO_YCBCR = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])  # JFIF 1.02
_TO_RGB = torch.linalg.inv(_TO_YCBCR.double()).float()


def luma(pixels: Tensor) -> Tensor:
    """Return the luma of RGB images `(N, 3, H, W)` in 0..1 as `(N, 1, H, W)` in 0..1."""
    return (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def to_ycbcr(pixels: Tensor) -> Tensor:
    """Return luma in 0..1 and the two colour differences in -0.5..0.5 of RGB images `(N, 3, H, W)`, as in JPEG files."""
    return torch.einsum("ij,njhw->nihw", _TO_YCBCR.to(pixels), pixels)


def to_rgb(planes: Tensor) -> Tensor:
    """Return the RGB images of `to_ycbcr`. Values may leave 0..1."""
    return torch.einsum("ij,njhw->nihw", _TO_RGB.to(planes), planes)
