"""A loss against hatch: texture that repeats every few pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option
from srgan.losses.base import Loss, LossInputs, LossOptions

CELLS = 8  # blocks on a side of a window
SMALLEST = 0.05 / 255  # amplitude of a hatch below which the gradient vanishes


class HatchOptions(LossOptions):
    """Options of the loss against hatch."""

    period: int = option(4, "period of the hatch in pixels: the scale, and 8 for nafnet. Divisors are included", ge=2, le=16)


class HatchLoss(nn.Module):
    """Amplitude of the periodic texture that the SR image has and the HR image has not, in levels of 255.

    A network of convolutions with a pixel shuffle maps a flat input to one block of pixels, which it repeats. The texture that perceptual
    and adversarial losses reward in flat regions is therefore a hatch. The difference of the images is cut into blocks, and the blocks of
    each window are averaged. A hatch remains in the mean. The details of the image average out: the mean of `n` blocks that have nothing
    in common keeps 1/n of their power. Twice that power is free, so the loss leaves textures alone.

    Args:
        period: side of the blocks in pixels.
    """

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over windows of 8 x 8 blocks. A smaller image is one window, and one with less than 2 x 2 blocks has no hatch.

        The gradient passes through the mean block alone. A loss that divides by the power of the blocks would reward noise.
        """
        cells = min(CELLS, *(length // self.period for length in inputs.hr_image.shape[-2:]))
        if cells < 2:
            return 0 * inputs.sr_image.float().sum()
        side = cells * self.period
        height, width = (length // side * side for length in inputs.hr_image.shape[-2:])
        difference = (inputs.sr_image.float() - inputs.hr_image)[..., :height, :width]
        blocks = functional.pixel_unshuffle(difference, self.period).unflatten(1, (3, self.period**2))
        blocks = (blocks - blocks.mean(2, keepdim=True)).flatten(1, 2)
        mean_block = functional.avg_pool2d(blocks, cells)
        power = functional.avg_pool2d(blocks.detach().square().mean(1), cells)
        excess = functional.relu(mean_block.square().mean(1) - 2 / cells**2 * power) / (1 - 2 / cells**2)
        return 255 * (excess / torch.sqrt(power + SMALLEST**2)).mean()


HATCH = Loss("hatch", "Amplitude of texture that repeats with a given period, in levels of 255.", HatchLoss, HatchOptions)
