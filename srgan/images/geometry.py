"""Map points of a stored image to its upscaled, upright copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Geometry:
    """The change of the pixels: they were turned upright and resized.

    Attributes:
        orientation: EXIF orientation of the stored image, 1..8.
        stored: width and height of the stored image.
        size: width and height of the result.
    """

    orientation: int
    stored: tuple[int, int]
    size: tuple[int, int]

    @property
    def sideways(self) -> bool:
        """Return whether width and height are exchanged."""
        return self.orientation > 4

    @property
    def factors(self) -> tuple[Fraction, Fraction]:
        """Return the factors of width and height."""
        width, height = map(int, self.sides(*self.stored))
        return Fraction(self.size[0], width), Fraction(self.size[1], height)

    def sides(self, across: float, down: float) -> tuple[float, float]:
        """Return width and height, or the coordinates of a point, in the axes of the upright image."""
        return (down, across) if self.sideways else (across, down)

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """Turn a point, in 0..1 of width and height, as the pixels were turned (EXIF 2.32, 4.6.4 A)."""
        across, down = self.sides(x, y)
        return 1 - across if self.orientation in (2, 3, 6, 7) else across, 1 - down if self.orientation in (3, 4, 7, 8) else down

    def moved(self, x: float, y: float) -> tuple[int, int]:
        """Map a point from pixels of the stored image to pixels of the result."""
        across, down = self.turned(x / self.stored[0], y / self.stored[1])
        return round(across * self.size[0]), round(down * self.size[1])

    def resized(self, across: float, down: float) -> tuple[int, int]:
        """Map width and height of an area from pixels of the stored image to pixels of the result."""
        width, height = self.sides(across, down)
        return round(width * self.factors[0]), round(height * self.factors[1])

    def subject(self, values: Sequence[float]) -> tuple[int, ...]:
        """Map EXIF's SubjectArea or SubjectLocation: a point and a circle's diameter or a rectangle's sides, in pixels."""
        extent = values[2:4]
        sides = self.resized(extent[0], extent[-1])[: len(extent)] if extent else ()
        return (*self.moved(*values[:2]), *sides)
