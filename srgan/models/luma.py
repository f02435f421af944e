"""Colorization: replace the luma of a result by that of the input."""

import torch
from torch import Tensor

from srgan.degradations.colours import LUMA

_LEVEL = 1 / 255


def as_rgb(image: Tensor) -> Tensor:
    """Return `(N, 3, H, W)`: the image, or three equal channels of a gray image `(N, 1, H, W)`, without a copy."""
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image


def luma(image: Tensor) -> Tensor:
    """Return the luma Y' of sRGB-encoded images, BT.601: `(N, 3, H, W)` in 0..1 to `(N, 1, H, W)` in 0..1."""
    red, green, blue = (image[:, channel : channel + 1] for channel in range(3))
    weight_red, weight_green, weight_blue = LUMA
    return weight_red * red + weight_green * green + weight_blue * blue


def keep_luma(image: Tensor, reference: Tensor) -> Tensor:
    """Return an image with the colours of `image` and the luma of `reference`.

    The chroma is the difference of each channel from the luma. Its own luma is 0, so adding it to a luma keeps that luma. Where the sum
    would leave 0..1, the chroma is reduced towards grey until it fits. Clipping the channels would change the luma instead.

    Args:
        image: `(N, 3, H, W)`, not clipped.
        reference: `(N, 3, H, W)` in 0..1.

    Returns:
        `(N, 3, H, W)` float32 in 0..1. Its luma is that of `reference`. Rounded to 8 bits it differs by at most half a level.
    """
    image, reference = image.float(), reference.float()
    target = luma(reference).clamp(0, 1)
    chroma = image - luma(image)
    room = torch.where(chroma > 0, 1 - target, target)
    # A chroma below one level always fits, and the limit keeps the quotient small.
    fit = (room / chroma.abs().clamp(min=_LEVEL)).amin(dim=1, keepdim=True).clamp(max=1)
    return target + fit * chroma
