"""Random rectangles of patches, which augmentations fill with other pixels."""

import numpy as np
import torch


def draw_rectangles(random: np.random.Generator, count: int, side: int, probability: float) -> np.ndarray:
    """Return top, bottom, left and right of a rectangle in each of `count` square patches, `(count, 4)`.

    Its sides are uniform in 1 to `side` pixels, and all its positions are equally likely. It is empty with the probability that remains.
    """
    sides = random.integers(1, side + 1, (count, 2)) * (random.random(count) < probability)[:, None]
    start = random.integers(side - sides + 1)
    return np.stack([start, start + sides], axis=-1).reshape(count, 4)


def inside(rectangles: torch.Tensor, side: int) -> torch.Tensor:
    """Return the masks of rectangles, `(N, side, side)` bool, on their device."""
    top, bottom, left, right = rectangles[:, :, None].unbind(1)
    line = torch.arange(side, device=rectangles.device)
    return ((line >= top) & (line < bottom))[:, :, None] & ((line >= left) & (line < right))[:, None, :]
