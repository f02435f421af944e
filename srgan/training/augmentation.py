"""Augmentation of the images that a discriminator sees, for small data sets.

Karras et al. 2020, https://arxiv.org/abs/2006.06676, appendix B, with the operations that suit patches: symmetries, shifts by whole pixels,
brightness, contrast and saturation. All are differentiable and run on the device without waiting for it.
"""

import torch
from torch import Tensor

GATES = 5  # one for each operation
DRAWS = GATES + 6  # uniform numbers per patch: the gates, then symmetry, two shifts, brightness, contrast and saturation
LARGEST_SHIFT = 1 / 8  # of the side of a patch
BRIGHTNESS = 0.2  # of the range of values
CONTRAST, SATURATION = 0.5, 1.0  # largest power of 2 of the factor


def augment(image: Tensor, draws: Tensor, probability: Tensor) -> Tensor:
    """Return augmented images. Equal draws change equal images in the same way.

    Args:
        image: `(N, 3, H, H)`, or `(N, 6, H, H)` with the input of the generator, which changes in the same way.
        draws: `(N, DRAWS)` in 0..1.
        probability: scalar in 0..1 of each operation, on the device.
    """
    gates, (symmetry, down, right, brightness, contrast, saturation) = draws[:, :GATES] < probability, draws[:, GATES:].unbind(1)
    image = _turned(image, torch.where(gates[:, 0], symmetry * 8, 0.0).to(torch.int64))
    image = _shifted(image, *(torch.where(gates[:, 1], share * 2 - 1, 0.0) for share in (down, right)))
    brightness, contrast, saturation = (
        torch.where(gates[:, number], largest * (share * 2 - 1), 0.0)[:, None, None, None, None]
        for number, share, largest in ((2, brightness, BRIGHTNESS), (3, contrast, CONTRAST), (4, saturation, SATURATION))
    )
    colours = image.unflatten(1, (-1, 3))
    gray = colours.mean(2, keepdim=True)
    colours = gray + (colours - gray) * 2**saturation
    return ((colours - 0.5) * 2**contrast + 0.5 + brightness).flatten(1, 2)


def _turned(image: Tensor, symmetry: Tensor) -> Tensor:
    """Return one of the eight symmetries of each square image, numbered 0..7."""
    mirrored, flipped, transposed = ((symmetry & bit != 0)[:, None, None, None] for bit in (1, 2, 4))
    image = torch.where(mirrored, image.flip(-1), image)
    image = torch.where(flipped, image.flip(-2), image)
    return torch.where(transposed, image.transpose(-1, -2), image)


def _shifted(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return each image moved by up to `LARGEST_SHIFT`, with reflected borders. The shifts are in -1..1."""
    for dimension, share in ((2, down), (3, right)):
        side = image.shape[dimension]
        offset = (share * LARGEST_SHIFT * side).round().to(torch.int64)
        source = (torch.arange(side, device=image.device) - offset[:, None]).abs()
        source = side - 1 - (side - 1 - source).abs()
        shape = (len(image), 1, side, 1) if dimension == 2 else (len(image), 1, 1, side)
        image = image.gather(dimension, source.view(shape).expand_as(image))
    return image
