"""A loss on the spectrum of the images."""

import torch
from torch import Tensor, nn

from srgan.losses.base import Loss, LossInputs

SMALLEST = 1e-12  # largest squared difference of two spectra below which they count as equal: the division needs a number above 0


class FocalFrequencyLoss(nn.Module):
    """Squared distance of the spectra of the SR and the HR image, with a larger weight for the frequencies that differ most.

    Jiang et al. 2021, https://arxiv.org/abs/2012.12821, with alpha = 1. The weight of a frequency is the absolute
    difference there, divided by the largest one of the image and channel. It has no gradient.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the frequencies of the orthonormal transform."""
        spectrum = torch.fft.fft2(inputs.sr_image.float() - inputs.hr_image, norm="ortho")
        squares = spectrum.real.square() + spectrum.imag.square()
        with torch.no_grad():
            weights = torch.sqrt(squares / squares.amax((2, 3), keepdim=True).clamp(min=SMALLEST))
        return (weights * squares).mean()


FOCAL_FREQUENCY = Loss(
    "focal_frequency", "Squared distance of the spectra, mostly where they differ most (Jiang et al. 2021).", FocalFrequencyLoss
)
