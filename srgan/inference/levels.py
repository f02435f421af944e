"""Values of sensors, such as heights, reflectances and Hounsfield units, as levels that a network takes, and back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from srgan.images.alpha import fill_transparent
from srgan.inference.upscaler import Upscaler

HONEST = "A GAN invents detail that no sensor has seen. The result is no measurement, and this program is no diagnostic device"


@dataclass(frozen=True)
class Levels:
    """A linear map between stored values and levels in 0..1.

    Attributes:
        low: value of the level 0.
        high: value of the level 1.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray, valid: np.ndarray) -> "Levels":
        """Return the map for values: 0..255 for uint8, else from the smallest to the largest valid value.

        A network is trained with images that use the whole range. A scan with 12 bits in 16 would be nearly black for it.

        Args:
            values: of any shape.
            valid: True for values that count, broadcastable to `values`.
        """
        if values.dtype == np.uint8:
            return cls(0, 255)
        if not valid.any():
            return cls(0, 1)
        chosen = values[np.broadcast_to(valid, values.shape)]
        return cls(float(chosen.min()), float(chosen.max()))

    def levels(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return `(H, W[, 3])` values as float32 in 0..1. Invalid pixels get the level of the nearest valid ones.

        Args:
            values: `(H, W)` or `(H, W, 3)`.
            valid: `(H, W)`, True for valid pixels.
        """
        span = self.high - self.low or 1.0
        hidden = ~valid if values.ndim == 2 else ~valid[..., None]
        levels = np.where(hidden, 0, (values.astype(np.float64) - self.low) / span).astype(np.float32)
        return np.clip(fill_transparent(levels, np.where(valid, 255, 0).astype(np.uint8)), 0, 1)

    def values(self, levels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return levels as values of a type, rounded for whole numbers."""
        values = self.low + levels.astype(np.float64) * (self.high - self.low)
        return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def upscale_values(
    upscaler: Upscaler, values: np.ndarray, valid: np.ndarray, levels: Levels, on_tile: Callable[[], None], missing: float | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Upscale stored values in strips from top to bottom. Invalid pixels are repeated as they are.

    Args:
        upscaler: the model.
        values: `(H, W)` or `(H, W, 3)` of any real type.
        valid: `(H, W)`, True for valid pixels.
        levels: the map between the values and 0..1.
        on_tile: is called after each tile.
        missing: the value that marks missing pixels. Valid pixels of the result never have it.

    Yields:
        The first row of a strip in the result, and its values, `(h, scale * W[, 3])` of the type of `values`.
    """
    top, scale, image = 0, upscaler.scale, levels.levels(values, valid)
    for strip in upscaler.for_image(image).strips(image, on_tile=on_tile):
        made = levels.values(strip, values.dtype)
        if missing is not None:
            made = np.where(made == missing, _beside(missing, levels, values.dtype), made)
        rows = np.arange(top, top + len(strip)) // scale
        hidden = ~valid[rows].repeat(scale, 1)
        yield top, np.where(hidden if values.ndim == 2 else hidden[..., None], values[rows].repeat(scale, 1), made)
        top += len(strip)


def _beside(missing: float, levels: Levels, dtype: np.dtype) -> np.ndarray:
    """Return the value next to the one that marks missing pixels, towards the middle of the levels."""
    middle = (levels.low + levels.high) / 2
    if dtype.kind == "f":
        return np.nextafter(dtype.type(missing), dtype.type(middle))
    return np.asarray(missing + (1 if middle >= missing else -1)).astype(dtype)
