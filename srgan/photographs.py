"""Enlarge photographs from file to file, with all that belongs to them.

What becomes of each kind of file (what is read, and how: `srgan.data.images`):

========================  ==========================================================================================
colours                   stay in the file's own colour space, its ICC profile goes along
greyscale, 1 bit          greyscale
palette                   its colours, as RGB
CMYK, LAB                 sRGB
16 bits a channel         16 bits in PNG and TIFF, rounded to 8 in the other formats
transparency              enlarged apart; laid on white in JPEG, which has none
EXIF                      kept, but what describes the former file's layout, its thumbnail too; orientation applied and reset
XMP                       kept; says in addition which model enlarged the picture (`srgan.provenance`)
resolution                the same pixels an inch
several frames            the first
========================  ==========================================================================================
"""

import errno
import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from PIL import Image, TiffImagePlugin

from srgan.data.images import EXIF_IFD, GPS_IFD, ORIENTATION, XMP_TAG, Picture, on_white, open_picture, rounded_to_8
from srgan.errors import SrganError
from srgan.files import atomic_file, scratch_file
from srgan.inference import Upscaler, enlarge_alpha, without_fringes
from srgan.provenance import add_provenance, upright

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff", ".avif": "avif"}
LONGEST = {"jpeg": 65500, "webp": 16383, "avif": 16384}  # pixels a side that the format, or its encoder, can hold
DEEP, LOSSLESS, OPAQUE = ("png", "tiff"), ("webp", "avif"), ("jpeg",)
# EXIF tags that describe the former file's layout (TIFF 6.0, sections 3 to 8 and 11 to 22), and what is written anew from elsewhere.
LAYOUT = {254, 255, *range(256, 267), 273, 277, 278, 279, 280, 281, 282, 283, 284, *range(288, 294), 296, 297, 301, 317, 318, 319, 320}
LAYOUT |= {*range(321, 326), 330, 332, 336, 337, *range(338, 347), 347, *range(512, 522), *range(529, 533), XMP_TAG, 33723, 34377, 34675}
ROWS = 256  # that are resized at once
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003  # EXIF

pyvips.cache_set_max(0)  # it would keep former files open
logging.getLogger("pyvips").setLevel(logging.WARNING)  # it tells of its threads
log = logging.getLogger(__name__)


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
) -> tuple[int, int]:
    """Enlarge a photograph; memory does not grow with the result but where its format forbids (WebP, AVIF).

    Args:
        upscaler: the model.
        source: a file, or one that is open and can be sought in.
        target: is written whole, or not at all.
        options: see there.
        form: of `FORMATS`; None: by the suffix of `target`.
        told: is called after each tile with the number that is done, and of all.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: `source` is not a readable image, or `target` is of no format of `FORMATS`, or of one that cannot hold the result.
    """
    form = form or format_of(target)
    picture = open_picture(source)
    height, width = (side * upscaler.scale for side in picture.pixels.shape[:2])
    factor = (options.outscale or upscaler.scale) / upscaler.scale
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    if max(size) > LONGEST.get(form, max(size)):
        raise SrganError(f"{target}: {form} ends at {LONGEST[form]} pixels a side, this needs {max(size)}; use .png or .tif")
    try:
        _enlarge(upscaler, picture, target, form, options, size, told)
    except OSError as error:
        error.filename = error.filename or str(target)  # writing itself does not name the file
        raise
    return size


def _enlarge(
    upscaler: Upscaler, picture: Picture, target: Path, form: str, options: Options, size: tuple[int, int], told: Callable[[int, int], None]
) -> None:
    height, width = (side * upscaler.scale for side in picture.pixels.shape[:2])
    with scratch_file(target) as raw:  # not in /tmp, which may be made of memory
        channels, kind = _write_raw(raw, upscaler, picture, form, told)
        upscaler.release()  # the encoder needs some, too
        if size != (width, height):
            _resize_raw(raw, (height, width, channels), kind, size)
        deep = kind == np.uint16
        image = pyvips.Image.rawload(str(raw), *size, channels, format="ushort" if deep else "uchar")
        image = image.copy(interpretation=("grey16" if deep else "b-w") if channels < 3 else ("rgb16" if deep else "srgb"))
        with atomic_file(target) as temporary:
            try:
                _save(image, temporary, form, options, _tags(picture, upscaler, options, size))
            except pyvips.Error as error:
                if os.strerror(errno.ENOSPC) in str(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
                raise SrganError(f"{target}: could not be written: {' '.join(str(error).split())}") from error
            finally:
                del image  # the raw file is open as long as it lives


def format_of(target: Path) -> str:
    """The format that a suffix names.

    Raises:
        SrganError: it names none.
    """
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise SrganError(f"{target}: no picture format is called '{target.suffix}'; use one of {', '.join(FORMATS)}")
    return form


def _write_raw(raw: Path, upscaler: Upscaler, picture: Picture, form: str, told: Callable[[int, int], None]) -> tuple[int, type]:
    """The enlarged pixels, as they are to be encoded; number of channels and type."""
    pixels, alpha = picture.pixels, picture.alpha
    kind = np.uint16 if pixels.dtype == np.uint16 and form in DEEP else np.uint8
    if alpha is not None:
        pixels = without_fringes(pixels, alpha)
        alpha = rounded_to_8(alpha) if kind == np.uint8 else alpha
    channels = (1 if pixels.ndim == 2 else 3) + (alpha is not None and form not in OPAQUE)
    total, tile, top = upscaler.count(pixels), 0, 0

    def done() -> None:
        nonlocal tile
        tile += 1
        told(tile, max(total, tile))

    with raw.open("wb") as file:
        for band in upscaler.strips(pixels, kind, done):
            if alpha is not None:
                see_through = _rows_of_alpha(alpha, upscaler.scale, top, len(band))
                band = on_white(band, see_through) if form in OPAQUE else np.dstack([band, see_through])
            top += len(band)
            file.write(np.ascontiguousarray(band).data)
    return channels, kind


def _resize_raw(raw: Path, shape: tuple[int, int, int], kind: type, size: tuple[int, int]) -> None:
    """Replace a file of pixels by the image in another size (width, height), by Lanczos in strips that equal the whole but for rounding."""
    pixels, (width, height) = np.memmap(raw, kind, "r", shape=shape), size
    step = shape[0] / height
    reach = math.ceil(3 * max(step, 1)) + 1  # rows that Lanczos of three lobes looks at
    with scratch_file(raw) as new:
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


# -- what belongs to a photograph ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tags:
    icc_profile: bytes | None
    exif: Image.Exif
    xmp: bytes | None
    dpi: tuple[float, float] | None


def _tags(picture: Picture, upscaler: Upscaler, options: Options, size: tuple[int, int]) -> _Tags:
    exif = Image.Exif()
    for tag, value in picture.exif.items():
        if tag not in LAYOUT and tag not in (EXIF_IFD, GPS_IFD):
            exif[tag] = value
    for part in (EXIF_IFD, GPS_IFD):
        if inside := picture.exif.get_ifd(part):
            exif.get_ifd(part).update(inside)
    if len(exif) or exif.get_ifd(EXIF_IFD):
        exif[ORIENTATION] = 1
    details = exif.get_ifd(EXIF_IFD)
    if PIXEL_WIDTH in details:
        details[PIXEL_WIDTH], details[PIXEL_HEIGHT] = size
    try:
        exif.tobytes()
    except Exception as error:  # values of types that no writer expects
        log.warning("its EXIF is damaged (%s); it is left out", error)
        exif = Image.Exif()
    xmp = upright(picture.xmp) if picture.xmp else None
    if options.provenance:
        try:
            xmp = add_provenance(xmp, upscaler.metadata, upscaler.sha256)
        except SrganError as error:
            log.warning("%s; it is left out", error)
            xmp = add_provenance(None, upscaler.metadata, upscaler.sha256)
    return _Tags(picture.icc_profile, exif, xmp, picture.dpi)


def _save(image: Any, path: Path, form: str, options: Options, tags: _Tags) -> None:
    # Formats that must name a resolution get what viewers assume, and so do damaged ones.
    dpi = tags.dpi if tags.dpi and max(tags.dpi) < 1e6 else (72, 72)
    image = image.copy(xres=dpi[0] / 25.4, yres=dpi[1] / 25.4)
    blob = pyvips.GValue.blob_type
    if tags.icc_profile:
        image.set_type(blob, "icc-profile-data", tags.icc_profile)
    if tags.xmp and form != "png":
        image.set_type(blob, "xmp-data", tags.xmp)
    exif = bool(len(tags.exif) or tags.exif.get_ifd(EXIF_IFD) or tags.exif.get_ifd(GPS_IFD))
    if exif and form != "tiff":
        image.set_type(blob, "exif-data", tags.exif.tobytes())
    match form:
        case "png":
            image.pngsave(str(path), compression=3, filter="paeth")
            if tags.xmp:
                _insert_xmp(path, tags.xmp)
        case "tiff":
            large = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1) > 2**32 - 2**24
            image.tiffsave(str(path), compression="deflate", predictor="horizontal", bigtiff=large)
            if exif and not large:
                _append_exif(path, tags.exif)
        case "jpeg":
            # Colour in full resolution at high quality: halved, as is usual, it would undo what was just enlarged.
            image.jpegsave(str(path), Q=options.quality, subsample_mode="auto")
        case "webp":
            image.webpsave(str(path), Q=options.quality, lossless=options.lossless, smart_subsample=True)
        case "avif":
            image.heifsave(str(path), compression="av1", Q=options.quality, lossless=options.lossless, effort=2)


def _insert_xmp(path: Path, xmp: bytes) -> None:
    """As the iTXt chunk that the XMP specification (part 3, 1.1.5) asks for, behind the header; libvips writes another kind of chunk."""
    content = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    plain = path.with_name(f"{path.name}.plain")
    path.replace(plain)
    try:
        with plain.open("rb") as source, path.open("wb") as target:
            target.write(source.read(33))  # signature and IHDR
            target.write(chunk)
            shutil.copyfileobj(source, target, 1 << 20)
    finally:
        plain.unlink()


def _append_exif(path: Path, exif: Image.Exif) -> None:
    """Give a TIFF file tags that libvips does not write: a new directory behind its pixels, with the former one's entries and these."""
    with path.open("rb+") as file:
        header = file.read(8)
        order = "<" if header[:2] == b"II" else ">"

        def entries(directory: bytes) -> dict[int, bytes]:
            (number,) = struct.unpack_from(f"{order}H", directory)
            found = (directory[2 + 12 * index : 14 + 12 * index] for index in range(number))
            return {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in found}

        file.seek(struct.unpack_from(f"{order}I", header, 4)[0])
        former = entries(file.read(2 + 12 * 65535))
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        for tag, value in exif.items():
            tags[tag] = value
        for part in (EXIF_IFD, GPS_IFD):
            if inside := exif.get_ifd(part):
                tags[part] = inside
        offset = file.seek(0, 2)
        offset += file.write(b"\0" * (offset % 2))  # directories begin at even places
        added = tags.tobytes(offset)
        merged = sorted((entries(added) | former).items())
        file.write(added)
        file.write(struct.pack(f"{order}H", len(merged)) + b"".join(entry for _, entry in merged) + struct.pack(f"{order}I", 0))
        file.seek(4)
        file.write(struct.pack(f"{order}I", offset + len(added)))
