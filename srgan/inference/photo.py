"""Enlarge photographs from file to file, with all that belongs to them.

What becomes of each kind of file (what is read, and how: `srgan.images.read`):

========================  ==========================================================================================
colours                   stay in the file's own colour space, its ICC profile goes along
greyscale, 1 bit          greyscale; sRGB in WebP and AVIF, which have no greyscale
palette                   its colours, as RGB
CMYK, LAB                 sRGB
16 bits a channel         16 bits in PNG and TIFF, rounded to 8 in the other formats
transparency              enlarged apart; laid on white in JPEG, which has none
EXIF, XMP, IPTC, text     kept where the format holds them, with the values of the result; a warning names the rest
resolution                the same pixels an inch
several frames            the first
========================  ==========================================================================================
"""

import errno
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from PIL import Image, ImageCms

from srgan.images.embedding import embed
from srgan.images.metadata import Metadata, collect
from srgan.images.read import Picture, as_rgb, on_white, open_picture, rounded_to_8
from srgan.images.suffixes import FORMATS
from srgan.inference.upscaler import Upscaler, enlarge_alpha, without_fringes
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, final_name, scratch_file
from srgan.utils.machine import available_memory

COLOURED = ("webp", "avif")  # formats without greyscale
ENCODER = {"webp": 7, "avif": 35}  # bytes of memory that the encoder needs for each pixel of the result; the others work in strips
LONGEST = {"jpeg": 65500, "webp": 16383, "avif": 16384}  # pixels a side that the format, or its encoder, can hold
DEEP, OPAQUE = ("png", "tiff"), ("jpeg",)
ROWS = 256  # that are resized at once

KEEP_EXIF, KEEP_XMP, KEEP_ICC = 1, 2, 8  # libvips' flags

log = logging.getLogger(__name__)
pyvips.cache_set_max(0)  # it would keep former files open
logging.getLogger("pyvips").setLevel(logging.WARNING)  # it tells of its threads


@dataclass(frozen=True)
class Options:
    """How results are written.

    Attributes:
        outscale: size of the result / size of the photograph; None: the model's scale. The model enlarges, Lanczos does the rest.
        quality: 1..100, of JPEG, WebP and AVIF.
        lossless: WebP and AVIF without loss.
        provenance: say in XMP which model enlarged the picture.
    """

    outscale: float | None = None
    quality: int = 95
    lossless: bool = False
    provenance: bool = True


DEFAULTS = Options()


def upscale_file(
    upscaler: Upscaler,
    source: Path | BinaryIO,
    target: Path,
    options: Options = DEFAULTS,
    form: str | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
    picture: Picture | None = None,
) -> tuple[int, int]:
    """Upscale an image file with its metadata.

    Memory does not grow with the result, except for WebP and AVIF, whose encoders need the whole image.

    Args:
        upscaler: the model.
        source: a file, or an open file that can seek.
        target: the file to write. It is replaced as a whole or not at all.
        options: how the result is written.
        form: a format in `FORMATS`. Default: by the suffix of `target`.
        told: is called after the image is decoded and after each tile, with the number of finished tiles and of all tiles.
        picture: the result of `open_picture` for `source`. Default: it is decoded here.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: `source` is not a readable image, or the format of `target` is unknown or cannot hold the result.

    Example:
        >>> from pathlib import Path
        >>> from srgan import Upscaler, upscale_file
        >>> upscale_file(Upscaler("2x-photo-compact-fp32.onnx"), Path("photo.png"), Path("big.webp"))
        (48, 32)
    """
    form = form or format_of(target)
    picture = _in_fitting_colours(picture or open_picture(source), form)
    height, width = (side * upscaler.scale for side in picture.pixels.shape[:2])
    factor = (options.outscale or upscaler.scale) / upscaler.scale
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    if max(size) > LONGEST.get(form, max(size)):
        raise SrganError(f"{target}: {form} ends at {LONGEST[form]} pixels a side, this needs {max(size)}; use .png or .tif")
    needed, free = size[0] * size[1] * ENCODER.get(form, 0), available_memory()
    if needed > free:
        raise SrganError(
            f"{target}: the {form} encoder needs {needed / 1e9:.1f} GB of memory for {size[0]}x{size[1]} pixels, "
            f"{free / 1e9:.1f} GB are free; use .png, .tif or .jpg"
        )
    try:
        _enlarge(upscaler, picture, source, target, form, options, size, told)
    except OSError as error:
        error.filename = error.filename or str(target)  # writing itself does not name the file
        raise
    return size


def _in_fitting_colours(picture: Picture, form: str) -> Picture:
    """With a colour profile that fits the pixels of the result, or with sRGB pixels and none.

    Grey pixels become sRGB tones where the result is coloured, or where their profile is one for colours.
    """
    profile = picture.icc_profile
    if not profile:
        return picture
    grey = picture.pixels.ndim == 2
    space, wanted = profile[16:20], b"GRAY" if grey and not _coloured(picture, form) else b"RGB "
    if space == wanted:
        return picture
    if grey and space in (b"GRAY", b"RGB "):
        try:
            return replace(picture, pixels=_srgb_tones(picture.pixels, profile), icc_profile=None)
        except (OSError, ImageCms.PyCMSError):
            return picture  # it is damaged: `collect` says so
    if profile[36:40] == b"acsp":  # else it is damaged, too
        kind = space.decode("ascii", "replace").strip()
        log.warning("%s: its colour profile is for %s, its pixels are %s; it is left out", picture.name, kind, "grey" if grey else "RGB")
        return replace(picture, icc_profile=None)
    return picture


def _coloured(picture: Picture, form: str) -> bool:
    """Whether the result has three colour channels. Hardly any program reads 16-bit grey with alpha from a TIFF file."""
    return (
        picture.pixels.ndim == 3 or form in COLOURED or (picture.alpha is not None and form == "tiff" and picture.pixels.dtype == np.uint16)
    )


def _srgb_tones(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Grey pixels `(H, W)`, uint8 or uint16, in sRGB instead of a profile's tones."""
    source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = levels if profile[16:20] == b"GRAY" else levels.convert("RGB")
    exact = ImageCms.Flags.NOOPTIMIZE
    transformed = ImageCms.profileToProfile(levels, source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB", flags=exact)
    assert transformed is not None
    tones = np.asarray(transformed)[0, :, 1]
    if pixels.dtype == np.uint8:
        return tones[pixels]
    every = np.interp(np.arange(65536), np.arange(256) * 257, tones * 257.0)
    return np.rint(every).astype(np.uint16)[pixels]


def _enlarge(
    upscaler: Upscaler,
    picture: Picture,
    source: Path | BinaryIO,
    target: Path,
    form: str,
    options: Options,
    size: tuple[int, int],
    told: Callable[[int, int], None],
) -> None:
    height, width = (side * upscaler.scale for side in picture.pixels.shape[:2])
    with scratch_file(target, "pixels") as raw:  # not in /tmp, which may be made of memory
        channels, kind = _write_raw(raw, upscaler, picture, form, told)
        upscaler.release()  # the encoder needs some, too
        if size != (width, height):
            _resize_raw(raw, target, (height, width, channels), kind, size)
        deep = kind == np.uint16
        image = pyvips.Image.rawload(os.fsencode(raw), *size, channels, format="ushort" if deep else "uchar")
        image = image.copy(interpretation=("grey16" if deep else "b-w") if channels < 3 else ("rgb16" if deep else "srgb"))
        metadata = collect(picture, source, size, form, upscaler.metadata if options.provenance else None, upscaler.sha256)
        with atomic_file(target) as temporary:
            try:
                _save(image, temporary, target, form, options, metadata)
            except pyvips.Error as error:
                if os.strerror(errno.ENOSPC) in str(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
                raise SrganError(f"{target}: could not be written: {final_name(' '.join(str(error).split()))}") from error
            finally:
                del image  # the raw file is open as long as it lives


def format_of(target: Path) -> str:
    """The format that a suffix names.

    Raises:
        SrganError: it names none.
    """
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise SrganError(
            f"{target}: no picture format is called '{target.suffix}'; use one of {', '.join(FORMATS)}; a folder's name ends with /"
        )
    return form


def _write_raw(raw: Path, upscaler: Upscaler, picture: Picture, form: str, told: Callable[[int, int], None]) -> tuple[int, type]:
    """The enlarged pixels, as they are to be encoded; number of channels and type."""
    pixels, alpha = picture.pixels, picture.alpha
    kind = np.uint16 if pixels.dtype == np.uint16 and form in DEEP else np.uint8
    if alpha is not None:
        pixels = without_fringes(pixels, alpha)
        alpha = rounded_to_8(alpha) if kind == np.uint8 else alpha
    coloured = _coloured(picture, form)
    channels = (3 if coloured else 1) + (alpha is not None and form not in OPAQUE)
    total, tile, top = upscaler.count(pixels), 0, 0

    def done() -> None:
        nonlocal tile
        tile += 1
        told(tile, max(total, tile))

    told(0, total)
    with raw.open("wb") as file:
        for band in upscaler.strips(pixels, kind, done):
            band = as_rgb(band) if coloured else band
            if alpha is not None:
                see_through = _rows_of_alpha(alpha, upscaler.scale, top, len(band))
                band = on_white(band, see_through) if form in OPAQUE else np.dstack([band, see_through])
            top += len(band)
            file.write(np.ascontiguousarray(band).data)
    return channels, kind


def _resize_raw(raw: Path, target: Path, shape: tuple[int, int, int], kind: type, size: tuple[int, int]) -> None:
    """Replace a file of pixels by the image in another size (width, height), by Lanczos in strips that equal the whole but for rounding."""
    pixels, (width, height) = np.memmap(raw, kind, "r", shape=shape), size
    step = shape[0] / height
    reach = math.ceil(3 * max(step, 1)) + 1  # rows that Lanczos of three lobes looks at
    with scratch_file(target, "resized") as new:
        with new.open("wb") as file:
            for top in range(0, height, ROWS):
                bottom = min(top + ROWS, height)
                first, last = max(math.floor(top * step) - reach, 0), min(math.ceil(bottom * step) + reach, shape[0])
                box = (0, top * step - first, shape[1], min(bottom * step, shape[0]) - first)
                file.write(np.ascontiguousarray(_lanczos(np.asarray(pixels[first:last]), (width, bottom - top), box)).data)
        del pixels  # or the file could not be replaced on Windows
        new.replace(raw)


def _lanczos(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """By Pillow, which knows 8 bits and float32."""
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box))
    planes = [Image.fromarray(np.float32(pixels[..., channel])) for channel in range(pixels.shape[2])]
    resized = np.dstack([np.asarray(plane.resize(size, Image.Resampling.LANCZOS, box)) for plane in planes])
    return np.rint(np.clip(resized, 0, 65535)).astype(np.uint16)


def _rows_of_alpha(alpha: np.ndarray, scale: int, top: int, rows: int) -> np.ndarray:
    """Some rows of the enlarged alpha channel."""
    begin, end = top // scale, (top + rows) // scale
    first = max(begin - 2, 0)  # bicubic looks at two rows on either side
    return enlarge_alpha(alpha[first : end + 2], scale)[top - first * scale :][:rows]


def _save(image: Any, path: Path, target: Path, form: str, options: Options, metadata: Metadata) -> None:
    image = image.copy(xres=metadata.dpi[0] / 25.4, yres=metadata.dpi[1] / 25.4)
    blob, name = pyvips.GValue.blob_type, os.fsencode(path)  # a name need not be UTF-8
    if metadata.icc_profile:
        image.set_type(blob, "icc-profile-data", metadata.icc_profile)
    if metadata.xmp and form not in ("png", "jpeg"):
        image.set_type(blob, "xmp-data", metadata.xmp)
    keep = KEEP_XMP | KEEP_ICC
    match form:
        case "png":
            image.pngsave(name, compression=3, filter="paeth", keep=keep)
        case "tiff":
            large = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1) > 2**32 - 2**24
            image.tiffsave(name, compression="deflate", predictor="horizontal", bigtiff=large, keep=keep)
        case "jpeg":
            # Colour in full resolution at high quality: halved, as is usual, it would undo what was just enlarged.
            image.jpegsave(name, Q=options.quality, subsample_mode="auto", keep=keep)
        case "webp":
            image.webpsave(name, Q=options.quality, lossless=options.lossless, smart_subsample=True, keep=keep)
        case "avif":
            if metadata.exif:  # its boxes are libvips' business
                image.set_type(blob, "exif-data", b"Exif\0\0" + metadata.exif)
            image.heifsave(name, compression="av1", Q=options.quality, lossless=options.lossless, effort=2, keep=keep | KEEP_EXIF)
    embed(path, target, form, metadata, (image.width, image.height), alpha=image.bands in (2, 4))
