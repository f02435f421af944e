"""Losses that compare pixels. Each one is a mean over the batch in float32."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option
from srgan.losses.base import Loss, LossInputs, LossOptions

CHARBONNIER_EPSILON = 1e-3  # LapSRN (Lai et al. 2017, https://arxiv.org/abs/1704.03915, section 3.3)


def charbonnier(first: Tensor, second: Tensor) -> Tensor:
    """Return a smooth L1 distance: the mean of sqrt(d**2 + epsilon**2)."""
    return torch.sqrt((first - second) ** 2 + CHARBONNIER_EPSILON**2).mean()


class PixelLoss(nn.Module):
    """Distance between the pixels of the SR and the HR image.

    Args:
        distance: maps two tensors of one shape to a scalar.
    """

    def __init__(self, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the distance."""
        return self.distance(inputs.sr_image.float(), inputs.hr_image)


class TotalVariationLoss(nn.Module):
    """Mean absolute difference of neighbouring pixels of the SR image (Rudin et al. 1992, anisotropic form)."""

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the sum of the vertical and the horizontal mean."""
        image = inputs.sr_image.float()
        return (image[..., 1:, :] - image[..., :-1, :]).abs().mean() + (image[..., 1:] - image[..., :-1]).abs().mean()


class GradientOptions(LossOptions):
    """Options of the gradient loss."""

    levels: int = option(1, "resolutions that are compared. Each has half the size of the one before it", ge=1, le=6)


class GradientLoss(nn.Module):
    """Distance between the differences of neighbouring pixels of the SR and the HR image, at several resolutions.

    The mean colour of a region does not enter. So fading or a tint, which a patch cannot show, does not hide the other errors, such as
    grain and scratches. One resolution is the gradient difference loss of Mathieu et al. 2016 (https://arxiv.org/abs/1511.05440,
    equation 6) with signs and exponent 1.

    Args:
        levels: number of resolutions. A resolution without two pixels in both directions is left out.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the resolutions of the sum of the vertical and the horizontal mean."""
        error, values = inputs.sr_image.float() - inputs.hr_image, list[Tensor]()
        while len(values) < self.levels and min(error.shape[-2:]) > 1:
            values.append(error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean())
            error = functional.avg_pool2d(error, 2)
        return torch.stack(values).mean() if values else 0 * error.sum()


L1 = Loss("l1", "Mean absolute difference of the pixels.", partial(PixelLoss, functional.l1_loss))
MSE = Loss("mse", "Mean squared difference of the pixels (SRGAN, equation 4).", partial(PixelLoss, functional.mse_loss))
CHARBONNIER = Loss("charbonnier", "Smooth L1 distance of the pixels (Lai et al. 2017, section 3.3).", partial(PixelLoss, charbonnier))
TOTAL_VARIATION = Loss("tv", "Total variation of the SR image. It favours flat areas (Rudin et al. 1992).", TotalVariationLoss)
GRADIENT = Loss("gradient", "L1 distance of the differences of neighbouring pixels (Mathieu et al. 2016).", GradientLoss, GradientOptions)
