"""Enlarge an image piece by piece, so that memory does not grow with it."""

import math
from collections.abc import Callable, Iterator

import numpy as np

MARGIN, RAMP = 24, 16  # pixels, where a tile cannot see all that the network looks at
Enlarge = Callable[[np.ndarray], np.ndarray]


def strips(enlarge: Enlarge, image: np.ndarray, scale: int, tile: int, reach: int) -> Iterator[np.ndarray]:
    """Enlarge an image from top to bottom, in strips of its full width.

    All tiles of an image have one shape. Where they hold four times `reach`, each is used only as far as it saw everything the network
    looks at: the strips are those of the whole image. Smaller tiles lose a margin as well, and are blended into each other.

    Args:
        enlarge: from `(h, w, ...)` to `(scale * h, scale * w, channels)`.
        image: `(H, W, ...)`.
        scale: by what `enlarge` enlarges.
        tile: side of the squares that `enlarge` is given, in pixels of `image`; an image of no more pixels is given whole.
        reach: pixels around a pixel that the network looks at, in each direction.

    Yields:
        `(h, scale * W, channels)`, together `(scale * H, scale * W, channels)`.
    """
    height, width = image.shape[:2]
    if height * width <= tile * tile:
        yield enlarge(image)
        return
    margin, ramp = _overlap(tile, reach)
    rows, columns = _starts(height, tile, margin, ramp), _starts(width, tile, margin, ramp)
    above = None
    for index, top in enumerate(rows):
        band = _band(enlarge, image[top : top + tile], columns, scale, tile, margin, ramp)
        begin = margin * scale if index else 0
        if above is not None:
            _blend(above, band[begin : begin + len(above)])
        if index + 1 == len(rows):
            yield band[begin:]
            return
        end = (rows[index + 1] + margin - top) * scale
        above = band[end : end + ramp * scale].copy()
        yield band[begin:end]


def enlarged(enlarge: Enlarge, image: np.ndarray, scale: int, tile: int, reach: int) -> np.ndarray:
    """The strips in one array, `(scale * H, scale * W, channels)`; arguments as of `strips`."""
    pieces = strips(enlarge, image, scale, tile, reach)
    first = next(pieces)
    if len(first) == len(image) * scale:
        return first
    result = np.empty((len(image) * scale, *first.shape[1:]), first.dtype)
    result[: len(first)], done = first, len(first)
    for piece in pieces:
        result[done : done + len(piece)] = piece
        done += len(piece)
    return result


def count(height: int, width: int, tile: int, reach: int) -> int:
    """Number of tiles that `strips` makes of an image of this size."""
    if height * width <= tile * tile:
        return 1
    margin, ramp = _overlap(tile, reach)
    return len(_starts(height, tile, margin, ramp)) * len(_starts(width, tile, margin, ramp))


def _overlap(tile: int, reach: int) -> tuple[int, int]:
    """How much of each side of a tile is not used, and over how much of the rest it is blended."""
    return (reach, 0) if tile >= 4 * reach else (min(MARGIN, tile // 6), min(RAMP, tile // 6))


def _starts(length: int, tile: int, margin: int, ramp: int) -> list[int]:
    """Where the tiles of a row or column begin. The last one is moved inwards, so that it has the others' size."""
    if length <= tile:
        return [0]
    step = tile - 2 * margin - ramp
    return [min(number * step, length - tile) for number in range(math.ceil((length - tile) / step) + 1)]


def _band(enlarge: Enlarge, image: np.ndarray, columns: list[int], scale: int, tile: int, margin: int, ramp: int) -> np.ndarray:
    """A row of tiles, each laid over what the one before it made of its left side."""
    band: np.ndarray | None = None
    for left in columns:
        piece = enlarge(image[:, left : left + tile])
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
    """Let `new` begin as `former` and end as itself, along the first axis, in place."""
    if len(new):
        weight = ((np.arange(len(new), dtype=np.float32) + 0.5) / len(new)).reshape(-1, *[1] * (new.ndim - 1))
        new[...] = (
            former + (new - former) * weight if new.dtype.kind == "f" else np.rint(former + weight * (new.astype(np.float32) - former))
        )
