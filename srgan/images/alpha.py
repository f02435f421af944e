"""Transparency: upscale an alpha channel and give hidden pixels colours that do not show at the edges."""

from collections.abc import Iterator

import cv2
import numpy as np

WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}  # the value of white by type of pixels
ROWS_PER_STRIP = 256  # of a full-size image, an even number


def from_unit_range(image: np.ndarray, dtype: type) -> np.ndarray:
    """Convert float32 in 0..1 to one of the types in `WHITE`, rounded."""
    white = WHITE[np.dtype(dtype)]
    return image if white == 1 else np.rint(image * np.float32(white)).astype(dtype)


def upscale_alpha(alpha: np.ndarray, scale: int) -> np.ndarray:
    """Upscale an alpha channel, `(H, W)` of a type in `WHITE`, with bicubic interpolation. A network would invent texture in it."""
    size = (alpha.shape[1] * scale, alpha.shape[0] * scale)
    upscaled = cv2.resize(alpha.astype(np.float32) / np.float32(WHITE[alpha.dtype]), size, interpolation=cv2.INTER_CUBIC)
    return from_unit_range(np.clip(upscaled, 0, 1), alpha.dtype.type)


def fill_transparent(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give transparent pixels the colour of the nearest visible pixels. Their own colour is arbitrary and would show at the edges.

    Each level of a pyramid has half the size, and its pixels are the means of the visible pixels below. Pixels without a visible pixel
    take the colour of the next coarser level. The full-size level is processed in strips. The pyramid needs about 10 bytes for each
    pixel of the image.

    Args:
        colours: `(H, W)` or `(H, W, 3)` of a type in `WHITE`.
        alpha: `(H, W)`, 0 where a pixel is hidden.

    Returns:
        An array like `colours`, or `colours` itself if no pixel or every pixel is hidden.
    """
    if alpha.min() > 0 or not alpha.any():
        return colours
    halves = [_halved(_weighted(colours[rows], alpha[rows])) for rows in _strips(len(alpha))]
    levels = [np.concatenate(halves)]
    del halves
    while min(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    coarse: np.ndarray | None = None
    while levels:
        coarse = _filled(levels.pop(), coarse)
    assert coarse is not None
    result = np.empty_like(colours)
    for rows in _strips(len(alpha)):
        # The interpolation reads one more coarse row on either side.
        above = min(rows.start // 2, 1)
        some = coarse[rows.start // 2 - above : (rows.stop + 1) // 2 + 1]
        fine = _doubled(some)[2 * above :][: rows.stop - rows.start, : alpha.shape[1]]
        fine = (np.rint(fine) if colours.dtype.kind == "u" else fine).astype(colours.dtype).reshape(colours[rows].shape)
        hidden = alpha[rows] == 0
        result[rows] = np.where(hidden if colours.ndim == 2 else hidden[..., None], fine, colours[rows])
    return result


def _strips(height: int) -> Iterator[slice]:
    return (slice(top, min(top + ROWS_PER_STRIP, height)) for top in range(0, height, ROWS_PER_STRIP))


def _weighted(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return `(h, w, channels + 1)` float32: the visible colours, 0 elsewhere, and their weight, 1 or 0."""
    weight = (alpha > 0).astype(np.float32)
    return np.dstack([np.atleast_3d(colours) * weight[..., None], weight])


def _halved(level: np.ndarray) -> np.ndarray:
    """Return the means of 2x2 pixels. A side of odd length gets an empty row or column."""
    height, width = level.shape[:2]
    level = np.pad(level, [(0, height % 2), (0, width % 2), (0, 0)])
    half = cv2.resize(level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return half.reshape(level.shape[0] // 2, level.shape[1] // 2, -1)


def _doubled(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR).reshape(2 * height, 2 * width, -1)


def _filled(level: np.ndarray, coarse: np.ndarray | None) -> np.ndarray:
    """Return `(h, w, channels)`: the mean colour of visible pixels, else the colour of the coarser level."""
    total, weight = level[..., :-1], level[..., -1:]
    if coarse is None:
        return total / np.where(weight > 0, weight, 1)
    result = _doubled(coarse)[: len(level), : level.shape[1]]
    if not result.flags.owndata or not result.flags.c_contiguous:
        result = result.copy()
    np.divide(total, weight, out=result, where=weight > 0)
    return result
