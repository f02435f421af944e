"""Static metadata of HDR clips: the display that mastered them (SMPTE ST 2086) and their light levels (CTA-861.3)."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srgan.utils.errors import SrganError

UNSPECIFIED = 2  # transfer function of H.273
DYNAMIC = {"DYNAMIC_HDR_PLUS": "HDR10+", "DOVI_METADATA": "Dolby Vision"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Light:
    """Chromaticities `(x, y)` of green, blue, red and white, luminance `(most, least)` and light levels in cd/m2. Empty if unknown."""

    points: tuple[tuple[float, ...], ...] = ()
    luminance: tuple[float, float] = (0, 0)
    levels: tuple[int, int] = (0, 0)

    def mastering(self, chromaticity: float, luminance: float) -> str:
        """Return the display as text of the encoders, which count in these units, such as 0.00002 and 0.0001."""
        number = (lambda value: f"{value:.5f}") if chromaticity == 1 else (lambda value: str(round(value)))
        names = zip(("G", "B", "R", "WP"), self.points, strict=True)
        text = "".join(f"{name}({number(x / chromaticity)},{number(y / chromaticity)})" for name, (x, y) in names)
        return f"{text}L({number(self.luminance[0] / luminance)},{number(self.luminance[1] / luminance)})"


NO_LIGHT = Light()


def light_of(frame: Any) -> Light:
    """Return the static metadata of a frame."""
    display, level = frame.side_data.get("MASTERING_DISPLAY_METADATA"), frame.side_data.get("CONTENT_LIGHT_LEVEL")
    levels = tuple(np.frombuffer(bytes(level), np.uint32)[:2].tolist()) if level is not None else (0, 0)
    if display is None:
        return Light(levels=levels)
    values = np.frombuffer(bytes(display), np.int32)  # AVMasteringDisplayMetadata: ten fractions, then two flags
    red, green, blue, white, (least, most) = (values[:20:2] / np.maximum(values[1:20:2], 1)).reshape(5, 2).tolist()
    if not values[20:22].all():
        return Light(levels=levels)
    return Light((tuple(green), tuple(blue), tuple(red), tuple(white)), (most, least), levels)


def check(frame: Any, path: Path) -> None:
    """Warn of dynamic metadata, which the result will not hold.

    Raises:
        SrganError: the colours are those of Dolby Vision only.
    """
    found = [name for key, name in DYNAMIC.items() if frame.side_data.get(key) is not None]
    if "Dolby Vision" in found and frame.color_trc == UNSPECIFIED:
        raise SrganError(f"{path}: Dolby Vision without a base layer for other players is not supported. Convert the clip to HDR10 first")
    if found:
        log.warning("%s: not in the result: the dynamic metadata of %s", path, " and ".join(found))
