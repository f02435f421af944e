"""A loss against hatch: texture in flat regions that repeats every few pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option
from srgan.losses.base import Loss, LossInputs, LossOptions

WINDOW = 32  # pixels
FLAT = 8 / 255  # a window with this standard deviation has half the weight of a flat one
SMALLEST = 0.05 / 255  # amplitude below which the gradient vanishes


class HatchOptions(LossOptions):
    """Options of the loss against hatch."""

    period: int = option(4, "period of the hatch in pixels: the scale, and 8 for nafnet. Divisors are included", ge=2, le=16)


class HatchLoss(nn.Module):
    """Amplitude of periodic texture in the flat regions of the SR image that the HR image does not have, in levels of 255.

    A network of convolutions with a pixel shuffle maps a flat input to one block of pixels, which it repeats. The texture that perceptual
    and adversarial losses reward in flat regions is therefore a hatch. This loss averages the blocks of each window. The details of the
    image average out, and a hatch remains. The metric of the same name measures what is left.

    Args:
        period: side of the blocks in pixels.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over windows of 32 pixels, weighted by how flat the HR image is there. Patches may be smaller."""
        cells = max(min(WINDOW, *inputs.hr_image.shape[-2:]) // self.period, 1)
        side = cells * self.period
        height, width = (length // side * side for length in inputs.hr_image.shape[-2:])
        hr_image = inputs.hr_image[..., :height, :width]
        difference = inputs.sr_image[..., :height, :width].float() - hr_image
        block = functional.avg_pool2d(functional.pixel_unshuffle(difference, self.period), cells).unflatten(1, (3, self.period**2))
        power = (block - block.mean(2, keepdim=True)).square().mean((1, 2))
        variance = functional.avg_pool2d(hr_image**2, side) - functional.avg_pool2d(hr_image, side) ** 2
        weight = 1 / (1 + variance.mean(1) / FLAT**2)
        return 255 * (torch.sqrt(power + SMALLEST**2) * weight).mean()


HATCH = Loss("hatch", "Amplitude of texture in flat regions that repeats with a given period, in levels of 255.", HatchLoss, HatchOptions)
