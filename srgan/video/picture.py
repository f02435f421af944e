"""Frames and their common properties, for clips, animations and encoders."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from srgan.video import colours, hdr


@dataclass(frozen=True)
class Frame:
    """A frame: `(H, W, 3)` or `(H, W, 4)` uint8 or uint16, with its start and duration in units of `Picture.time_base`."""

    pixels: np.ndarray
    start: int
    duration: int


@dataclass(frozen=True)
class Picture:
    """Properties of all frames of a clip.

    Attributes:
        width, height: of an upright frame.
        time_base: seconds of a unit of time.
        rate: frames per second on average.
        frames: their estimated number, None if it is unknown.
        bits: of a sample.
        alpha: the frames are transparent.
        matrix, primaries, transfer: numbers of H.273.
        full: the samples have full range.
        aspect: width of a pixel relative to its height, None if it is unknown.
        full_chroma: the colours have the resolution of the brightness.
        light: static HDR metadata.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int | None
    bits: int = 8
    alpha: bool = False
    matrix: int = colours.BT709
    primaries: int = colours.BT709
    transfer: int = colours.SRGB
    full: bool = False
    aspect: Fraction | None = None
    full_chroma: bool = True
    light: hdr.Light = hdr.NO_LIGHT
