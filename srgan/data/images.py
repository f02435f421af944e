"""Image files in and out, as uint8 arrays.

What becomes of each kind of file:

========================  ==========================================================================================
EXIF orientation          applied
1 bit, greyscale          one channel
palette                   its colours
alpha, transparent colour laid on white
16 bits a channel         rounded to 8: value / 257
32-bit integer, float     refused: their range is not defined
CMYK                      to sRGB, by the embedded ICC profile if there is one
RGB with an ICC profile   colours as stored, profile ignored, as the benchmarks of the field are read
several frames            the first
========================  ==========================================================================================
"""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from srgan.errors import SrganError
from srgan.files import atomic_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # of files that a data set is made of


def open_image(path: str | Path) -> Image.Image:
    """Open and fully decode an image by the rules above; its mode is L, LA, RGB or RGBA.

    Raises:
        SrganError: the file is missing, truncated, no image, or of a kind that is refused.
    """
    try:
        # Not by its path: Pillow 13 then maps uncompressed TIFF files, and those that lie on their side come out scrambled.
        with Path(path).open("rb") as file, Image.open(file) as image:
            deep = any(";16" in str(tile.args) for tile in image.tile)  # Pillow itself would cut the lower 8 bits off
            image.load()
            return ImageOps.exif_transpose(_eight_bits(path, image) if deep else _plain(image))
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise SrganError(f"{path}: is a folder, not an image") from error
    except PermissionError:
        raise
    except Exception as error:  # broken files make decoders raise nearly anything
        # Pillow's own messages name the reason ("image file is truncated"), seldom the file.
        told = isinstance(error, OSError | ValueError | Image.DecompressionBombError | ImageCms.PyCMSError) and str(error)
        reason = told if told and "cannot identify" not in told else "not an image that can be read"
        raise SrganError(f"{path}: {reason}; replace the file or take it out") from error


def _plain(image: Image.Image) -> Image.Image:
    """To L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in ("I", "F"):
        raise ValueError(f"pixels of 32 bits (mode {mode}) have no defined range")
    if mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        grey = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
        if isinstance(hidden := image.info.get("transparency"), int):
            grey.putalpha(Image.fromarray(np.where(deep == hidden, 0, 255).astype(np.uint8)))
        return _with_exif(grey, image)
    if mode in ("CMYK", "LAB"):
        profile, converted = image.info.get("icc_profile"), None
        if profile and mode == "CMYK":
            source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        converted = converted or image.convert("RGB")
        converted.info.pop("icc_profile", None)  # it described other channels than the ones there are now
        return _with_exif(converted, image)
    if mode in ("LA", "La", "PA", "RGBa") or image.has_transparency_data:
        return image.convert("LA" if mode in ("L", "LA", "La", "1") else "RGBA")
    if mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _eight_bits(path: str | Path, image: Image.Image) -> Image.Image:
    """An image of 16 bits a channel, read again by OpenCV, which keeps them."""
    if image.format == "TIFF" and (tags := image.tag_v2) and (tags.get(262) == 0 or tags.get(284) == 2):  # type: ignore[attr-defined]
        raise ValueError("16 bits with white as zero, or with the colours apart, are not supported; save it in another way")
    if image.mode.startswith("I;16"):
        return _plain(image)
    deep = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if deep is None or deep.dtype != np.uint16:
        raise ValueError("its 16-bit pixels cannot be read")
    pixels = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return _with_exif(Image.fromarray(pixels), image)


def _with_exif(image: Image.Image, original: Image.Image) -> Image.Image:
    image.info["exif"] = original.getexif().tobytes()
    return image


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 sRGB: `(H, W)` if it is greyscale, else `(H, W, 3)`; transparency is laid on white."""
    image = open_image(path)
    if "A" in image.getbands():
        grey = image.mode == "LA"
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA")).convert("L" if grey else "RGB")
    return np.array(image)  # a copy: torch wants to own what it wraps


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image as `(H, W, 3)` uint8 sRGB; greyscale becomes three equal channels."""
    return as_rgb(read_image(path))


def as_rgb(image: np.ndarray) -> np.ndarray:
    """`(H, W, 3)` from `(H, W)` or `(H, W, 3)`, uint8."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image


def encode_png(image: np.ndarray) -> bytes:
    """An `(H, W, 3)` or `(H, W)` uint8 array as PNG."""
    buffer = io.BytesIO()
    # Level 1 is nearly three times as fast as the default for a few per cent of size.
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an `(H, W, 3)` or `(H, W)` uint8 array as PNG, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(encode_png(image))
