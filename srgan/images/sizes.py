"""Sizes of results that the command line names: a factor, a side in pixels, or a size that the result must cover."""

import math
import re
from dataclasses import dataclass

from srgan.utils.errors import SrganError

NAMED = {"fullhd": (1920, 1080), "2k": (2560, 1440), "4k": (3840, 2160), "5k": (5120, 2880), "8k": (7680, 4320)}  # long and short side
FACTORS = (0.01, 64)  # least and greatest size of a result relative to its image


@dataclass(frozen=True)
class Size:
    """The wanted size of a result in pixels. One of the fields is set, and the aspect ratio stays.

    Attributes:
        width: width of the result.
        height: height of the result.
        long_side: the longer of both.
        at_least: long and short side that the result covers, in either orientation. A larger image keeps its size.
        name: the word for `at_least`, such as ``4k``.
    """

    width: int | None = None
    height: int | None = None
    long_side: int | None = None
    at_least: tuple[int, int] | None = None
    name: str = ""

    @property
    def mark(self) -> str:
        """Return the size for the name of a file, such as ``w1920``, ``h1080``, ``long2000`` or ``4k``."""
        if self.at_least:
            return self.name
        return f"w{self.width}" if self.width else f"h{self.height}" if self.height else f"long{self.long_side}"

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the result for an image of this size."""
        if self.at_least:
            long_side, short_side = self.at_least
            factor = max(long_side / max(width, height), short_side / min(width, height), 1)
            # The rounding of the factor must not add a row.
            return math.ceil(width * factor - 1e-6), math.ceil(height * factor - 1e-6)
        if self.height or (self.long_side and height > width):
            side = self.height or self.long_side or 1
            return max(round(width * side / height), 1), side
        side = self.width or self.long_side or 1
        return side, max(round(height * side / width), 1)


def named_size(outscale: float | None, width: int | None, height: int | None, long_side: int | None, at_least: str | None) -> Size | None:
    """Return the size in pixels that options of the command line name, or None.

    Raises:
        SrganError: more than one size is named, or `at_least` is none.
    """
    options = {"--outscale": outscale, "--width": width, "--height": height, "--long-side": long_side, "--at-least": at_least}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise SrganError(f"{' and '.join(given)}: name one size. The other side follows, because the aspect ratio stays")
    if at_least is not None:
        return Size(at_least=_sides(at_least), name=at_least.lower())
    return Size(width, height, long_side) if given and outscale is None else None


def _sides(text: str) -> tuple[int, int]:
    """Return long and short side of a name such as ``4k`` or of ``3000x2000``."""
    if text.lower() in NAMED:
        return NAMED[text.lower()]
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.lower())
    if not match:
        raise SrganError(f"--at-least {text}: no size. Use {', '.join(NAMED)}, or pixels such as 3000x2000")
    sides = int(match[1]), int(match[2])
    return max(sides), min(sides)


def check_factor(size: tuple[int, int], image: tuple[int, int], name: str) -> None:
    """Check that a result is not thousands of times as large as its image.

    Raises:
        SrganError: it is.
    """
    factor = size[0] / image[0]
    if not FACTORS[0] <= factor <= FACTORS[1]:
        raise SrganError(
            f"{name}: {image[0]}x{image[1]} pixels become {size[0]}x{size[1]}, which is x{factor:g}. "
            f"x{FACTORS[0]} to x{FACTORS[1]} are possible. Choose another size"
        )


def remark(size: tuple[int, int], image: tuple[int, int], scale: int) -> str:
    """Return a sentence about a result whose size differs from that of the model's output, or an empty text.

    Args:
        size: width and height of the result.
        image: width and height of the image.
        scale: of the model.
    """
    factor = size[0] / image[0]
    if min(side - scale * before for side, before in zip(size, image, strict=True)) > 0:
        return (
            f"the model makes it x{scale}, and interpolation (Lanczos) x{factor / scale:.3g} more, which adds no detail. "
            "For detail, upscale the result again"
        )
    if scale > 1 and size == image:
        return f"has the wanted size already. The model makes it x{scale}, and Lanczos resizes that to {size[0]}x{size[1]}"
    if factor < 1:
        return f"is larger than wanted: Lanczos resizes the result of the model to {size[0]}x{size[1]}"
    return ""
