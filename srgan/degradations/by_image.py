"""Changes by libraries that take one image on the CPU."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from srgan.degradations.base import Batch, Drawn


def by_image(batch: Batch, drawn: Sequence[Drawn], change: Callable[[np.ndarray, Drawn], np.ndarray]) -> Batch:
    """Change one image after the other.

    Args:
        batch: the images.
        drawn: the parameters of each.
        change: returns an image of the same size. Both are `(H, W, 3)` uint8.
    """
    levels = batch.pixels.mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    results = torch.zeros(batch.pixels.shape)
    for result, image, height, width, one in zip(results, levels, batch.heights, batch.widths, drawn, strict=True):
        changed = change(np.ascontiguousarray(image[:height, :width]), one)
        result[:, :height, :width] = torch.from_numpy(changed).permute(2, 0, 1)
    return batch.with_pixels(results.div_(255).to(batch.pixels.device))
