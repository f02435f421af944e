"""Read HEIC files with libheif (package ``pillow-heif``)."""

from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from srgan.images import optional
from srgan.images.colours import by_numbers

GAIN_MAP = "hdrgainmap"  # ends Apple's name of the image, such as urn:com:apple:photo:2020:aux:hdrgainmap


def is_heif(head: bytes) -> bool:
    """Return whether a file is HEIF by its first bytes, and not AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def turned(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8, that libheif has applied to the pixels."""
    orientation = image.info.get("original_orientation") or 1
    return orientation if 1 <= orientation <= 8 else 1


def others(image: Image.Image) -> list[str]:
    """Return the names of images in the file that belong to the main one: a gain map, a depth map, masks."""
    kinds = list(image.info.get("aux", {}))
    names = ["the gain map (the result is not HDR)"] * any(kind.endswith(GAIN_MAP) for kind in kinds)
    names += ["the depth map"] * bool(image.info.get("depth_images"))
    return names + ["auxiliary images such as masks"] * any(not kind.endswith(GAIN_MAP) for kind in kinds)


def stated_profile(image: Image.Image, grey: bool) -> bytes | None:
    """Return the ICC profile that is equal to the ``nclx`` colours of an image. It is None for sRGB and without such colours.

    Raises:
        ValueError: the colours are HDR or unknown.
    """
    stated = image.info.get("nclx_profile")
    return by_numbers(stated["color_primaries"], stated["transfer_characteristics"], grey) if stated else None


def sixteen_bits(file: BinaryIO, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return pixels and alpha of a file with 10 or 12 bits a channel as uint16. White is 65535."""
    module: Any = optional.load(optional.HEIF, "the image")
    file.seek(0)
    shifted = np.asarray(module.open_heif(file, convert_hdr_to_8bit=False))
    if shifted.dtype != np.uint16:
        raise ValueError(f"its pixels of type {shifted.dtype} cannot be read")
    white = (1 << bits) - 1
    pixels = (((shifted >> (16 - bits)).astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)
    if pixels.ndim == 2:
        return pixels, None
    return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
