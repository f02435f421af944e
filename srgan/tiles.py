"""Enlarge an image piece by piece, so that memory does not grow with it."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm


def in_tiles(
    enlarge: Callable[[np.ndarray], np.ndarray], image: np.ndarray, scale: int, tile: int, overlap: int, progress: bool = False
) -> np.ndarray:
    """Enlarge `(H, W, 3)` uint8 to `(scale * H, scale * W, 3)` uint8.

    Args:
        enlarge: does it for a piece of any size.
        image: what to enlarge.
        scale: by what `enlarge` enlarges.
        tile: side of a piece in pixels of `image`, its surroundings not counted.
        overlap: pixels of surroundings on each side that `enlarge` sees as well; from its receptive field on, the result is that of the
            whole image.
        progress: show a bar, on a terminal.
    """
    height, width = image.shape[:2]
    if max(height, width) <= tile:
        return enlarge(image)
    result = np.empty((height * scale, width * scale, 3), np.uint8)
    corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
    for top, left in tqdm(corners, desc="upscale", unit="tile", disable=None if progress else True):
        # The tile with its surroundings goes in; of what comes out, the surroundings are cut off again.
        above, before = max(top - overlap, 0), max(left - overlap, 0)
        bottom, right = min(top + tile, height), min(left + tile, width)
        enlarged = enlarge(image[above : bottom + overlap, before : right + overlap])
        inner = enlarged[(top - above) * scale : (bottom - above) * scale, (left - before) * scale : (right - before) * scale]
        result[top * scale : bottom * scale, left * scale : right * scale] = inner
    return result
