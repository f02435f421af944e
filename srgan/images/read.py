"""Read image files.

Each kind of file is read as follows:

========================  ==========================================================================================
EXIF orientation          applied
1 bit, greyscale          one channel
palette                   its colours
alpha, transparent colour composited on white
16 bits a channel         rounded to 8: value / 257
32-bit integer, float     refused, because their range is not defined
CMYK                      converted to sRGB, by the embedded ICC profile if there is one
RGB with an ICC profile   colours as stored, without the profile, as in the benchmarks of the literature
colours stated by numbers as such a profile (cICP, gAMA, cHRM of PNG, nclx of AVIF). HDR (PQ, HLG) is refused
camera raw                developed by LibRaw: white balance of the camera, sRGB
thumbnails                refused, because the first page of such a TIFF file is not the image
several frames, pages     the first, or `page` of a TIFF file. A warning states how many are left out
HEIC, JPEG XL, camera raw need optional packages (`srgan.images.optional`)
========================  ==========================================================================================
"""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from srgan.images import heif, jxl, raw
from srgan.images.colours import refuse_hdr, stated_profile
from srgan.images.decoded import DecodedImage
from srgan.images.formats import (
    EXTRA,
    MEANING,
    WHITE_IS_ZERO,
    Stored,
    check_memory,
    open_header,
    pages_of,
    read_header,
    tags_of,
)
from srgan.images.gain_map import read_gain_map
from srgan.utils.errors import SrganError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # of data sets
ORIENTATION, EXIF_IFD, GPS_IFD, XMP_TAG = 0x0112, 0x8769, 0x8825, 700
PILLOWS_OWN = ("dpi", "exif", "icc_profile", "transparency")  # keys for Pillow's own values, never for text

# Bytes of a PNG's decompressed text or colour profile. Workflows of image generators and profiles of printers exceed Pillow's 1 MB.
PngImagePlugin.MAX_TEXT_CHUNK = 32 << 20

log = logging.getLogger(__name__)


def open_image(source: str | Path | BinaryIO, page: int = 0) -> DecodedImage:
    """Decode an image file by the rules above, but keep transparency and 16 bits.

    Args:
        source: a file, or an open file that can seek.
        page: number of the page of a TIFF file, from 0 on.

    Raises:
        SrganError: the file is missing, truncated or no image, or its kind is refused.
    """
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the image"))
    try:
        # Pillow 13 maps uncompressed TIFF files that are opened by path and scrambles those with a turned orientation.
        with Path(source).open("rb") if isinstance(source, str | Path) else contextlib.nullcontext(source) as file:
            return _decoded(file, name, page)
    except FileNotFoundError as error:
        raise SrganError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise SrganError(f"{name}: is a folder, not an image") from error
    except PermissionError as error:
        raise SrganError(f"{name}: cannot be read (permission denied)") from error
    except SrganError:
        raise
    except Exception as error:  # decoders raise any kind of error for broken files
        # Pillow's messages name the reason ("image file is truncated") but rarely the file.
        told = isinstance(error, OSError | ValueError | Image.DecompressionBombError | ImageCms.PyCMSError)
        message = " ".join(str(error).split()).removesuffix(".") if told else ""
        reason = message if message and "cannot identify" not in message else "not an image that can be read"
        raise SrganError(f"{name}: {reason}. Replace or remove the file") from error


def peek(source: BinaryIO) -> tuple[str, tuple[int, int]]:
    """Return the format of an image file, as Pillow names it, and width and height as they are stored. Only the header is read.

    Args:
        source: an open file that can seek.

    Raises:
        SrganError: the format is not read, or its decoder is not installed.
        Exception: decoders raise any kind for broken files.
    """
    name = str(getattr(source, "name", "the image"))
    source.seek(0)
    if raw.is_raw(source, name):
        return "RAW", raw.read_size(source, name)
    if jxl.is_jxl(source.read(12)):
        return "JXL", jxl.read_size(source)[:2]
    image = open_header(source, name)
    return image.format or "", image.size


def _decoded(file: BinaryIO, name: str, page: int) -> DecodedImage:
    if raw.is_raw(file, name):
        return raw.decode(file, name)
    with open_header(file, name) as image:
        pages, gain_map = pages_of(image), read_gain_map(file) if image.format in ("JPEG", "MPO") else None
        if image.format != "TIFF" and (left_out := getattr(image, "n_frames", 1) - 1 - bool(gain_map)) > 0:
            unit = "images" if image.format == "HEIF" else "frames"
            log.warning("%s: only the first of %d %s is read, %d left out", name, left_out + 1, unit, left_out)
        if page:
            image.seek(page)
        check_memory(image.size, name)
        stored = read_header(image, file)
        _without_texts(image)
        image.load()
        _without_texts(image)  # those after the pixels
        info, (exif, orientation, damage) = dict(image.info), _exif(image)
        xmp, deep = _xmp(image, info), stored.deep
        turned, lost = (heif.turned(image), heif.others(image)) if image.format == "HEIF" else (0, [])
        if image.mode in ("CMYK", "LAB"):
            image, deep = _to_srgb(image), False
            info.pop("icc_profile", None)  # it describes the former channels
        else:
            info["icc_profile"] = _profile(image, file)
        pixels, alpha = _sixteen_bits(image, file, stored, page) if deep else _eight_bits(image, stored)
    dpi = info.get("dpi")
    return DecodedImage(
        name,
        pixels if turned else _upright(pixels, orientation),
        alpha if turned or alpha is None else _upright(alpha, orientation),
        info.get("icc_profile"),
        exif,
        info["exif"].removeprefix(b"Exif\0\0") if info.get("exif") and "Raw profile type exif" not in info else None,
        damage,
        turned or orientation,
        xmp,
        (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
        tuple(lost),
        pages,
        gain_map.upright(orientation) if gain_map else None,
    )


def warn_of_pages(image: DecodedImage, advice: str = "") -> None:
    """Log how many pages of a TIFF file are left out if only the first is used."""
    if len(image.pages) > 1:
        log.warning("%s: only the first of %d pages is read, %d left out%s", image.name, len(image.pages), len(image.pages) - 1, advice)


def _profile(image: Image.Image, file: BinaryIO) -> bytes | None:
    """Return the ICC profile of the file, or one that is equal to its numbers."""
    grey = image.mode in ("1", "L", "LA", "I;16")
    stated = heif.stated_profile(image, grey) if image.format == "HEIF" else stated_profile(file, image.format, grey)
    profile = image.info.get("icc_profile") or stated
    refuse_hdr(profile or b"")
    return profile


def _xmp(image: Image.Image, info: dict[Any, Any]) -> bytes | None:
    """Return the packet as it is stored."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or _raw_profile(info.get("Raw profile type xmp", ""))
    if image.format == "TIFF":
        xmp = tags_of(image).get(XMP_TAG)
    return xmp.encode("latin-1", "xmlcharrefreplace") if isinstance(xmp, str) else xmp


def _without_texts(image: Image.Image) -> None:
    """Remove texts of a PNG that have the keys of Pillow's own values, such as "dpi"."""
    for name in PILLOWS_OWN:
        if isinstance(image.info.get(name), str):
            del image.info[name]


def _exif(image: Image.Image) -> tuple[Image.Exif, int, str]:
    """Return the tags without the orientation, the orientation, and the reason if the tags are damaged. They keep no open file."""
    orientation: object = 1
    exif, damage = Image.Exif(), ""
    try:
        found = image.getexif()
        orientation = found.pop(ORIENTATION, 1)
        exif.endian = found.endian
        for part in (EXIF_IFD, GPS_IFD):
            if inside := found.get_ifd(part):
                exif.get_ifd(part).update(inside)
        for tag, value in found.items():
            exif[tag] = value
    except Exception as error:  # an image with damaged EXIF is still an image
        exif, damage = Image.Exif(), str(error) or type(error).__name__
    if isinstance(orientation, bytes) and len(orientation) == 1:  # some writers store a byte
        orientation = orientation[0]
    return exif, orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1, damage


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation (EXIF 2.32, 4.6.4 A)."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode != "CMYK":
        return image.convert("RGB")
    if profile[16:20] != b"CMYK":
        raise ValueError(f"its pixels are CMYK, but its colour profile is for {profile[16:20].decode('latin-1').strip()}")
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    assert converted is not None
    return converted


def _eight_bits(image: Image.Image, stored: Stored) -> tuple[np.ndarray, np.ndarray | None]:
    """Return pixels and alpha."""
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of 32 bits (mode {image.mode}) have no defined range")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.format == "PNG" and stored.bits in (2, 4) and isinstance(hidden := image.info.get("transparency"), int) and grey:
        image.info["transparency"] = hidden * 255 // (2**stored.bits - 1)  # Pillow scales the grey values to 8 bits, but not this one
    if image.mode in ("LA", "La", "PA", "RGBa") or image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        return np.array(image.convert("L" if grey else "RGB")), np.array(image.getchannel("A"))
    return np.array(image.convert("L" if grey else "RGB")), None


def _sixteen_bits(image: Image.Image, file: BinaryIO, stored: Stored, page: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return pixels and alpha. OpenCV or tifffile decodes several channels again, because Pillow reduces them to 8 bits."""
    extra = 2  # the fourth channel: 0 unknown, 1 premultiplied alpha, 2 alpha (TIFF 6.0, section 18)
    if image.format == "TIFF":
        tags = tags_of(image)
        if tags.get(MEANING) == WHITE_IS_ZERO:
            raise ValueError("16 bits with white as zero are not supported. Save it in another way")
        extra = (*tags.get(EXTRA, ()), 2)[0]
    if image.mode.startswith("I;16") and image.format != "HEIF":
        grey = np.array(image).astype(np.uint16)
        if stored.bits == 12:  # in 0..4095
            grey = ((grey.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
        hidden = image.info.get("transparency")
        return grey, np.where(grey == hidden, 0, 65535).astype(np.uint16) if isinstance(hidden, int) else None
    pixels: np.ndarray | None
    if image.format == "HEIF":
        return heif.sixteen_bits(file, stored.bits)
    file.seek(0)
    if stored.planes:
        with tifffile.TiffFile(file) as tiff:
            pixels = np.moveaxis(tiff.pages[page].asarray(), 0, 2)
        order = [0, 1, 2]
    else:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        _, decoded = cv2.imdecodemulti(np.frombuffer(file.read(), np.uint8), flags, range=(page, page + 1))
        pixels = decoded[0] if decoded else None
        order = [2, 1, 0]  # OpenCV has blue first
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or stored.bits != 16:
        raise ValueError(f"its pixels of {stored.bits} bits a channel cannot be read")
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 and extra else None
    colours = pixels[..., order]
    if alpha is not None and extra == 1:
        whole = colours.astype(np.uint32) * 65535 // np.maximum(alpha, 1)[..., None]
        colours = np.minimum(whole, 65535).astype(np.uint16)
    return np.ascontiguousarray(colours[..., 0]) if stored.grey else colours, alpha


def _raw_profile(text: str | bytes) -> bytes | None:
    """Return the content of a PNG's ``Raw profile type ...``, which is stored as name, length and hexadecimal digits."""
    words = (text if isinstance(text, str) else text.decode("latin-1")).split(maxsplit=2)
    try:
        return bytes.fromhex(words[2]) if len(words) == 3 and words[1].isdigit() else None
    except ValueError:
        return None


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round uint16 to uint8. An uint8 array is returned as it is."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def composite_on_white(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Composite pixels `(H, W)` or `(H, W, 3)` on white by alpha `(H, W)`, all uint8."""
    if alpha is None:
        return pixels
    image = Image.fromarray(as_rgb(pixels))
    image.putalpha(Image.fromarray(alpha))
    laid = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(laid.convert("L" if pixels.ndim == 2 else "RGB"))  # a copy, because torch needs a writable array


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 sRGB. Transparency is composited on white and the EXIF orientation is applied.

    Args:
        path: a PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or JPEG 2000 file.

    Returns:
        `(H, W)` uint8 for a greyscale image, else `(H, W, 3)`.

    Raises:
        SrganError: see `open_image`.

    Example:
        >>> from srgan import read_image
        >>> read_image("photo.png").shape
        (16, 24, 3)
    """
    decoded = open_image(path)
    warn_of_pages(decoded)
    alpha = None if decoded.alpha is None else to_uint8(decoded.alpha)
    return composite_on_white(to_uint8(decoded.pixels), alpha)


def read_deep(path: str | Path) -> np.ndarray:
    """Read an image as `read_image` does, as uint16 with all its 16 bits. Images of 8 bits are multiplied by 257."""
    decoded = open_image(path)
    if decoded.pixels.dtype == np.uint8:
        alpha = decoded.alpha
        return composite_on_white(decoded.pixels, alpha).astype(np.uint16) * np.uint16(257)
    if decoded.alpha is None:
        return decoded.pixels
    share = decoded.alpha.astype(np.float64) / 65535
    share = share if decoded.pixels.ndim == 2 else share[..., None]
    return np.rint(decoded.pixels * share + 65535 * (1 - share)).astype(np.uint16)


def read_stored(path: str | Path) -> np.ndarray:
    """Read an image as `read_image` does, as uint16 if the file has 16 bits."""
    decoded = open_image(path)
    return read_deep(path) if decoded.pixels.dtype == np.uint16 else read_image(path)


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image as `(H, W, 3)` uint8 sRGB. Greyscale becomes three equal channels."""
    return as_rgb(read_image(path))


def as_grey(image: np.ndarray) -> np.ndarray:
    """Return the luma (BT.601) of `(H, W)` or `(H, W, 3)` uint8 or uint16 as `(H, W)`."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return `(H, W)` or `(H, W, 3)` uint8 or uint16 as `(H, W, 3)`."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
