"""Where a point of a stored image is in its upscaled, upright copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Geometry:
    """What happened to the pixels: they were turned upright and resized.

    Attributes:
        orientation: EXIF orientation of the stored image, 1..8.
        stored: its width and height, before it was turned.
        size: width and height of the result.
    """

    orientation: int
    stored: tuple[int, int]
    size: tuple[int, int]

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.orientation > 4

    @property
    def factors(self) -> tuple[Fraction, Fraction]:
        """Upscaling factors of the result's width and height."""
        width, height = self.sides(*self.stored)
        return Fraction(self.size[0], width), Fraction(self.size[1], height)

    def sides(self, across: float, down: float) -> tuple[float, float]:
        """Width and height, or a point's coordinates, with the axes of the upright image."""
        return (down, across) if self.sideways else (across, down)

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """A point, in 0..1 of width and height, after turning (EXIF 2.32, 4.6.4 A; the same rule as for the pixels)."""
        across, down = self.sides(x, y)
        return 1 - across if self.orientation in (2, 3, 6, 7) else across, 1 - down if self.orientation in (3, 4, 7, 8) else down

    def moved(self, x: float, y: float) -> tuple[int, int]:
        """A point in pixels of the stored image, in pixels of the result."""
        across, down = self.turned(x / self.stored[0], y / self.stored[1])
        return round(across * self.size[0]), round(down * self.size[1])

    def resized(self, across: float, down: float) -> tuple[int, int]:
        """Width and height of an area in pixels of the stored image, in pixels of the result."""
        width, height = self.sides(across, down)
        return round(width * self.factors[0]), round(height * self.factors[1])

    def subject(self, values: Sequence[float]) -> tuple[int, ...]:
        """EXIF's SubjectArea or SubjectLocation in the result, in pixels: a point and a circle's diameter or a rectangle's sides."""
        extent = values[2:4]
        sides = self.resized(extent[0], extent[-1])[: len(extent)] if extent else ()
        return (*self.moved(*values[:2]), *sides)
