"""Losses that compare colours and leave out the brightness."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.losses.base import Loss, LossInputs

# Ottosson 2020, "A perceptual color space for image processing", https://bottosson.github.io/posts/oklab/: linear sRGB to the responses of
# the cones, and the cube roots of those to a and b.
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_CHROMA = ((1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))

_SMALLEST_RESPONSE = 1e-3  # about 3 levels of 255. Below it a line replaces the cube root, whose slope at 0 is infinite


def oklab_chroma(image: Tensor) -> Tensor:
    """Return the coordinates a (green to red) and b (blue to yellow) of Oklab.

    sRGB is decoded by IEC 61966-2-1, continued below 0 and above 1 as an odd function. Below `_SMALLEST_RESPONSE` the tangent of the cube
    root at that point replaces it. So the gradient is finite everywhere, and grey has the coordinates 0 and 0.

    Args:
        image: `(N, 3, H, W)` float32 sRGB in 0..1. Values outside this range are allowed.

    Returns:
        `(N, 2, H, W)` float32. Colours of sRGB are between -0.32 and 0.28.
    """
    size = image.abs()
    power = ((size.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    linear = torch.where(size > 0.04045, power * image.sign(), image / 12.92)
    responses = _mixed(linear, _CONES)
    root = responses.clamp(min=_SMALLEST_RESPONSE) ** (1 / 3)
    first = _SMALLEST_RESPONSE ** (1 / 3)
    tangent = first + (responses - _SMALLEST_RESPONSE) / (3 * first**2)
    return _mixed(torch.where(responses > _SMALLEST_RESPONSE, root, tangent), _CHROMA)


def _mixed(image: Tensor, matrix: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Return `(N, rows, H, W)`: a matrix times the channels of each pixel."""
    first, second, third = image.unbind(1)  # not a matrix product, which autocast would compute in half precision
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix], dim=1)


class OklabChromaLoss(nn.Module):
    """Mean absolute difference of a and b in Oklab, between the SR and the HR image.

    Equal distances in Oklab look about equally large, in contrast to distances of RGB. The brightness has no influence.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over both coordinates."""
        return functional.l1_loss(oklab_chroma(inputs.sr_image.float()), oklab_chroma(inputs.hr_image))


OKLAB_CHROMA = Loss("oklab_chroma", "Mean absolute difference of the colours a and b in Oklab (Ottosson 2020).", OklabChromaLoss)
