"""Structural similarity over several scales as a loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.losses.base import Loss, LossInputs

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales from fine to coarse (Wang et al. 2003, section 3.2)
WINDOW, SIGMA = 11, 1.5  # pixels (Wang et al. 2004, "Image quality assessment", section III.B)
C1, C2 = 0.01**2, 0.03**2  # of the same section, for values in 0..1
SMALLEST = 1e-4  # similarity of a scale below which the gradient vanishes. A negative number has no power


def scales_of(height: int, width: int) -> int:
    """Return the number of scales at which the window fits into an image: 5 from 176 pixels, 4 from 88, 3 from 44, 2 from 22, else 1."""
    fitting = [number for number in range(1, len(EXPONENTS) + 1) if min(height, width) >> (number - 1) >= WINDOW]
    return max(fitting, default=1)


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return MS-SSIM (Wang, Simoncelli and Bovik 2003, "Multiscale structural similarity for image quality assessment", equation 7).

    An image too small for five scales has those at which the window fits. Their exponents are divided by their sum. In an image below 11
    pixels the window is cut.

    Args:
        first: `(N, C, H, W)` float32 in 0..1. Values outside this range are allowed.
        second: of the same shape.

    Returns:
        `(N, C)` in 0..1. 1 for equal images.
    """
    scales = scales_of(*first.shape[-2:])
    total, product = sum(EXPONENTS[:scales]), torch.ones_like(first[..., 0, 0])
    for number, exponent in enumerate(EXPONENTS[:scales], 1):
        luminance, structure = _similarities(first, second)
        similarity = luminance * structure if number == scales else structure
        product = product * similarity.mean((2, 3)).clamp(min=SMALLEST) ** (exponent / total)
        if number < scales:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product


def _similarities(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance term, and the product of the contrast and the structure term, where the window is inside the image."""
    mean_a, mean_b = _blurred(first), _blurred(second)
    variances = _blurred(first * first + second * second) - mean_a * mean_a - mean_b * mean_b
    covariance = _blurred(first * second) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def _blurred(image: Tensor) -> Tensor:
    channels = image.shape[1]
    for dimension in (2, 3):
        taps = _gaussian(min(WINDOW, image.shape[dimension]), image)
        kernel = taps.view(1, 1, -1, 1) if dimension == 2 else taps.view(1, 1, 1, -1)
        image = functional.conv2d(image, kernel.expand(channels, 1, -1, -1), groups=channels)
    return image


def _gaussian(size: int, like: Tensor) -> Tensor:
    """Return the taps of the window. They are computed on the device, because a CUDA graph cannot copy them there."""
    taps = torch.exp(-((torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2) ** 2) / (2 * SIGMA**2))
    return taps / taps.sum()


class MsSsimLoss(nn.Module):
    """1 - MS-SSIM of the SR and the HR image, see `ms_ssim`."""

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the images and their channels."""
        return 1 - ms_ssim(inputs.sr_image.float(), inputs.hr_image).mean()


MS_SSIM = Loss("ms_ssim", "1 - MS-SSIM, with fewer scales in small patches (Wang et al. 2003).", MsSsimLoss)
