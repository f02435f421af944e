"""A decoded image file."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from srgan.images.gain_map import GainMap


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image file, upright, with its metadata.

    Attributes:
        name: name of the file for messages.
        pixels: `(H, W)` for greyscale, else `(H, W, 3)` RGB. The type is uint8, or uint16 if the file has more bits a channel.
        alpha: `(H, W)` of the same type, 0 for transparent pixels. None if the file has no transparency.
        icc_profile: colour profile of `pixels`.
        exif: EXIF tags without the orientation, which has been applied.
        exif_block: the stored EXIF with orientation, from its byte order on. None for TIFF and camera raw files.
        exif_damage: the reason why the tags cannot be read. It is empty if they can.
        orientation: EXIF orientation that has been applied, 1..8.
        xmp: the packet as it is stored.
        dpi: pixels per inch, horizontal and vertical.
        pages: numbers of the full-size pages of a TIFF file, from 0 on. Other files have one page.
        gain_map: that of an Ultra HDR photograph, upright.
        lost: names of further images in the file that are not decoded, such as ``the depth map``.
    """

    name: str
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: Image.Exif = field(default_factory=Image.Exif)
    exif_block: bytes | None = None
    exif_damage: str = ""
    orientation: int = 1
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()
    pages: tuple[int, ...] = (0,)
    gain_map: GainMap | None = None
