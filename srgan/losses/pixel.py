"""Losses that compare pixels. Every loss is a mean over the batch, computed in float32."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

CHARBONNIER_EPSILON = 1e-3  # LapSRN (Lai et al. 2017, https://arxiv.org/abs/1704.03915, section 3.3)


def charbonnier(first: Tensor, second: Tensor) -> Tensor:
    """A smooth L1: the mean of sqrt(d**2 + epsilon**2)."""
    return torch.sqrt((first - second) ** 2 + CHARBONNIER_EPSILON**2).mean()


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "charbonnier": charbonnier,
}


def pixel_loss(name: str, sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """Distance of two `(N, 3, H, W)` batches pixel by pixel: `l1`, `charbonnier`, or `mse` as in SRGAN (Ledig et al. 2017, equation 4)."""
    return PIXEL_LOSSES[name](sr_image.float(), hr_image)


def total_variation(image: Tensor) -> Tensor:
    """Mean difference of neighbouring pixels of an `(N, 3, H, W)` batch (Rudin et al. 1992, anisotropic): drives towards flat areas."""
    image = image.float()
    return (image[..., 1:, :] - image[..., :-1, :]).abs().mean() + (image[..., 1:] - image[..., :-1]).abs().mean()
