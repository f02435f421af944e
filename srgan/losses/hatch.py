"""A loss against hatch: texture that repeats every few pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option
from srgan.losses.base import Loss, LossInputs, LossOptions

WINDOW = 32  # pixels
SMALLEST = 0.05 / 255  # amplitude below which the gradient vanishes


class HatchOptions(LossOptions):
    """Options of the loss against hatch."""

    period: int = option(4, "period of the hatch in pixels: the scale, and 8 for nafnet. Divisors are included", ge=2, le=16)


class HatchLoss(nn.Module):
    """Amplitude of the periodic texture that the SR image has and the HR image has not, in levels of 255.

    A network of convolutions with a pixel shuffle maps a flat input to one block of pixels, which it repeats. The texture that perceptual
    and adversarial losses reward in flat regions is therefore a hatch. This loss averages the blocks of each window. The details of the
    image average out, and a hatch remains. The metric of the same name measures what is left in flat regions.

    Args:
        period: side of the blocks in pixels.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over windows of 32 pixels. A smaller image is one window, and one below the period has no hatch."""
        cells = max(min(WINDOW, *inputs.hr_image.shape[-2:]) // self.period, 1)
        side = cells * self.period
        height, width = (length // side * side for length in inputs.hr_image.shape[-2:])
        if not height or not width:
            return 0 * inputs.sr_image.float().sum()
        difference = (inputs.sr_image.float() - inputs.hr_image)[..., :height, :width]
        block = functional.avg_pool2d(functional.pixel_unshuffle(difference, self.period), cells).unflatten(1, (3, self.period**2))
        power = (block - block.mean(2, keepdim=True)).square().mean((1, 2))
        return 255 * torch.sqrt(power + SMALLEST**2).mean()


HATCH = Loss("hatch", "Amplitude of texture that repeats with a given period, in levels of 255.", HatchLoss, HatchOptions)
