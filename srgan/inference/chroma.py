"""Colours for the result of a network that upscales the luma alone."""

import cv2
import numpy as np

from srgan.images.hints import LUMA

_LEVEL = 1 / 65535  # the smallest chroma of a file


def with_chroma(luma: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return an upscaled luma with the colours of its input, enlarged by bicubic interpolation.

    The luma of the result is `luma`. Where a channel would leave 0..1, the chroma is reduced towards gray until it fits.

    Args:
        luma: `(scale * H, scale * W)` float32 in 0..1.
        colours: the input, `(H, W, 3)` float32 in 0..1.

    Returns:
        `(scale * H, scale * W, 3)` float32 in 0..1.
    """
    height, width = luma.shape
    chroma = colours - (colours @ LUMA)[..., None]
    if not (np.abs(chroma) > _LEVEL / 2).any():  # a gray image in three channels stays exactly gray
        return np.repeat(luma[..., None], 3, axis=2)
    large = np.asarray(cv2.resize(chroma, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    luma = luma[..., None]
    room = np.where(large > 0, 1 - luma, luma)
    fit = np.minimum((room / np.maximum(np.abs(large), _LEVEL)).min(axis=2, keepdims=True), 1)
    return np.clip(luma + fit * large, 0, 1)
