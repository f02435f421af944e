"""Upscale an image in tiles, so that the memory for activations does not grow with the image."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

BLEND_MARGIN, BLEND_WIDTH = 24, 16  # pixels that are cut and blended where a tile is too small for the receptive field
Upscale = Callable[[np.ndarray], np.ndarray]
Padding = Literal["edge", "reflect"]


def upscale_strips(
    upscale: Upscale, image: np.ndarray, scale: int, tile: int, halo: int, multiple_of: int = 1, padding: Padding = "edge"
) -> Iterator[np.ndarray]:
    """Upscale an image from top to bottom, in strips of its full width.

    All tiles of an image have one shape. If a tile holds at least four times `halo`, only the part whose receptive field is within
    the tile is used. The strips then equal those of the whole image. Smaller tiles lose a margin and are blended into each other.

    Args:
        upscale: `(h, w, ...)` to `(scale * h, scale * w, channels)`.
        image: `(H, W, ...)`.
        scale: the factor of `upscale`.
        tile: side of the tiles, in pixels of `image`. An image with no more pixels than a tile is upscaled as a whole.
        halo: pixels around a pixel that its result depends on, in each direction.
        multiple_of: pixels to a multiple of which `upscale` pads its input. All tiles begin at such multiples. Else the blocks of pixels
            of the network would be others than in the whole image.
        padding: the pixels that `upscale` adds: the last row and column (``edge``) or the mirrored image (``reflect``).

    Yields:
        `(h, scale * W, channels)`, together `(scale * H, scale * W, channels)`.
    """
    height, width = image.shape[:2]
    if height * width <= tile * tile:
        yield upscale(image)
        return
    missing = [(0, -side % multiple_of) for side in (height, width)]
    padded = np.pad(image, [*missing, *[(0, 0)] * (image.ndim - 2)], mode=padding) if multiple_of > 1 else image
    left = height * scale
    for strip in _strips(upscale, padded, scale, tile // multiple_of * multiple_of or tile, halo, multiple_of):
        yield strip[: max(left, 0), : width * scale]
        left -= len(strip)


def _strips(upscale: Upscale, image: np.ndarray, scale: int, tile: int, halo: int, multiple_of: int) -> Iterator[np.ndarray]:
    height, width = image.shape[:2]
    margin, ramp = _overlap(tile, halo)
    rows, columns = (_starts(side, tile, margin, ramp, multiple_of) for side in (height, width))
    above = None
    for index, top in enumerate(rows):
        band = _band(upscale, image[top : top + tile], columns, scale, tile, margin, ramp)
        begin = margin * scale if index else 0
        if above is not None:
            _blend(above, band[begin : begin + len(above)])
        if index + 1 == len(rows):
            yield band[begin:]
            return
        end = (rows[index + 1] + margin - top) * scale
        above = band[end : end + ramp * scale].copy()
        yield band[begin:end]


def upscale_tiled(
    upscale: Upscale, image: np.ndarray, scale: int, tile: int, halo: int, multiple_of: int = 1, padding: Padding = "edge"
) -> np.ndarray:
    """Return the strips of `upscale_strips` as one array, `(scale * H, scale * W, channels)`."""
    strips = upscale_strips(upscale, image, scale, tile, halo, multiple_of, padding)
    first = next(strips)
    if len(first) == len(image) * scale:
        return first
    result = np.empty((len(image) * scale, *first.shape[1:]), first.dtype)
    result[: len(first)], done = first, len(first)
    for strip in strips:
        result[done : done + len(strip)] = strip
        done += len(strip)
    return result


def tile_count(height: int, width: int, tile: int, halo: int, multiple_of: int = 1) -> int:
    """Return the number of tiles of an image of this size."""
    if height * width <= tile * tile:
        return 1
    height, width = (side + -side % multiple_of for side in (height, width))
    tile = tile // multiple_of * multiple_of or tile
    margin, ramp = _overlap(tile, halo)
    return math.prod(len(_starts(side, tile, margin, ramp, multiple_of)) for side in (height, width))


def _overlap(tile: int, halo: int) -> tuple[int, int]:
    """Return how many pixels of each side of a tile are cut, and over how many of the rest it is blended."""
    return (halo, 0) if tile >= 4 * halo else (min(BLEND_MARGIN, tile // 6), min(BLEND_WIDTH, tile // 6))


def _starts(length: int, tile: int, margin: int, ramp: int, multiple_of: int) -> list[int]:
    """Return where the tiles of a row or column begin. The last one is moved inwards to keep the size."""
    if length <= tile:
        return [0]
    step = tile - 2 * margin - ramp
    step = step // multiple_of * multiple_of or step
    return [min(number * step, length - tile) for number in range(math.ceil((length - tile) / step) + 1)]


def _band(upscale: Upscale, image: np.ndarray, columns: list[int], scale: int, tile: int, margin: int, ramp: int) -> np.ndarray:
    """Return a row of tiles. Each tile covers the margin of the tile on its left."""
    band: np.ndarray | None = None
    for left in columns:
        piece = upscale(image[:, left : left + tile])
        if band is None:
            band = np.empty((len(piece), image.shape[1] * scale, *piece.shape[2:]), piece.dtype)
        begin = margin * scale if left else 0
        piece = piece[:, begin:]
        place = band[:, left * scale + begin : left * scale + begin + piece.shape[1]]
        if left and ramp:
            _blend(place[:, : ramp * scale].swapaxes(0, 1), piece[:, : ramp * scale].swapaxes(0, 1))
        place[...] = piece
    assert band is not None
    return band


def _blend(former: np.ndarray, new: np.ndarray) -> None:
    """Fade `new` in along the first axis, in place: it begins as `former` and ends as itself."""
    if len(new):
        weight = ((np.arange(len(new), dtype=np.float32) + 0.5) / len(new)).reshape(-1, *[1] * (new.ndim - 1))
        new[...] = (
            former + (new - former) * weight if new.dtype.kind == "f" else np.rint(former + weight * (new.astype(np.float32) - former))
        )
