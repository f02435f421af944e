"""Turn frames upright by the display matrix of their file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srgan.utils.errors import SrganError


@dataclass(frozen=True)
class Orientation:
    """A rotation by a multiple of 90 degrees, mirrored or not: first transposed, then turned upside down and mirrored."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Return `(H, W, ...)` pixels upright."""
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        return np.ascontiguousarray(pixels[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1])


def of(frame: Any, path: Path) -> Orientation:
    """Return the orientation of a frame.

    Raises:
        SrganError: the rotation is no multiple of 90 degrees.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    (a, b), (c, d) = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].tolist()
    if (b, c) == (0, 0) and a and d:
        return Orientation(False, d < 0, a < 0)
    if (a, d) == (0, 0) and b and c:
        return Orientation(True, b < 0, c < 0)
    raise SrganError(f"{path}: is displayed at an angle of {frame.rotation} degrees. Rotate it by a multiple of 90 degrees first")
