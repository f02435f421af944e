"""Write upscaled images in strips, with their metadata."""

import errno
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image

from srgan.images import jxl, optional
from srgan.images.embedding import embed
from srgan.images.metadata import Metadata
from srgan.images.sizes import Size
from srgan.images.suffixes import FORMATS
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, copy, final_name, scratch_file
from srgan.utils.machine import available_memory

COLOUR_FORMATS = ("webp", "avif")  # they have no greyscale
SRGB_FORMATS = ("jxl",)  # their encoder writes no colour profile
SIXTEEN_BIT_FORMATS, OPAQUE_FORMATS = ("png", "tiff"), ("jpeg",)
LOSSLESS_FORMATS = ("webp", "avif", "jxl")  # if the user asks for it
ENCODER_BYTES_PER_PIXEL = {"webp": 7, "avif": 35, "jxl": 60}  # memory of the encoder. The other formats are written in strips.
MAX_SIDE = {"jpeg": 65500, "webp": 16383, "avif": 16384}  # pixels that the format or its encoder allows
ROWS_PER_STRIP = 256  # that are resized at once

KEEP_EXIF, KEEP_XMP, KEEP_ICC = 1, 2, 8  # flags of libvips

pyvips.cache_set_max(0)  # the cache would keep former files open
logging.getLogger("pyvips").setLevel(logging.WARNING)  # it logs its threads


@dataclass(frozen=True)
class Options:
    """Settings of the written result.

    Attributes:
        outscale: size of the result relative to the image. None is the model's scale. The model upscales, then Lanczos resizes.
        quality: quality of JPEG, WebP, AVIF and JPEG XL, 1..100.
        lossless: write WebP, AVIF and JPEG XL without loss.
        provenance: name the model in the XMP.
        credentials: PEM file of the user's key and certificates, which sign content credentials (`srgan.images.credentials`).
        size: size of the result in pixels, instead of `outscale`.
        keep_dates: give the result the date of the image's file.
    """

    outscale: float | None = None
    quality: int = 95
    lossless: bool = False
    provenance: bool = True
    credentials: Path | None = None
    size: Size | None = None
    keep_dates: bool = False

    def result_size(self, width: int, height: int, scale: int) -> tuple[int, int]:
        """Return width and height of the result of an image of this size by a model of this scale."""
        if self.size:
            return self.size.of(width, height)
        factor = (self.outscale or scale) / scale
        return max(round(width * scale * factor), 1), max(round(height * scale * factor), 1)

    def described(self, scale: int, file_format: str, refinement: str = "") -> str:
        """Return the options that change the pixels of a result, for its XMP: ``x4 quality 95``."""
        size = f"{self.size.mark if self.size else f'x{self.outscale or scale:g}'} {refinement}".strip()
        if self.lossless and file_format in LOSSLESS_FORMATS:
            return f"{size} lossless"
        return size if file_format in SIXTEEN_BIT_FORMATS else f"{size} quality {self.quality}"


def format_of(target: Path) -> str:
    """Return the format that a suffix names.

    Raises:
        SrganError: it names none, or the encoder is not installed.
    """
    file_format = FORMATS.get(target.suffix.lower())
    if file_format is None:
        raise SrganError(
            f"{target}: no image format has the suffix '{target.suffix}'. Use one of {', '.join(FORMATS)}. The name of a folder ends with /"
        )
    _check_encoder(target, file_format)
    return file_format


def _check_encoder(target: Path, file_format: str) -> None:
    if file_format == "jxl":
        optional.load(optional.JXL, str(target))


def check_size(target: Path, file_format: str, size: tuple[int, int]) -> None:
    """Check that a format and its encoder can hold an image of this width and height.

    Raises:
        SrganError: a side is too long, the encoder is not installed, or it needs more memory than is free.
    """
    _check_encoder(target, file_format)
    longest = MAX_SIDE.get(file_format, max(size))
    if max(size) > longest:
        raise SrganError(f"{target}: {file_format} allows {longest} pixels a side, this image has {max(size)}. Use .png or .tif")
    needed, free = size[0] * size[1] * ENCODER_BYTES_PER_PIXEL.get(file_format, 0), available_memory()
    if needed > free:
        raise SrganError(
            f"{target}: the {file_format} encoder needs {needed / 1e9:.1f} GB of memory for {size[0]}x{size[1]} pixels, "
            f"{free / 1e9:.1f} GB are free. Use .png, .tif or .jpg"
        )


def write(
    raw: Path,
    size: tuple[int, int],
    channels: int,
    dtype: type,
    target: Path,
    file_format: str,
    options: Options,
    metadata: Metadata,
    finish: Callable[[Path], None] = lambda path: None,
) -> None:
    """Encode a file of raw pixels. The target is replaced as a whole.

    Args:
        raw: pixels row by row, without a header.
        size: width and height.
        channels: 1 to 4. An even number includes alpha.
        dtype: uint8 or uint16.
        target: the file to write.
        file_format: a value of `FORMATS`.
        options: quality and lossless.
        metadata: what the file holds in addition to the pixels.
        finish: is called with the complete file before it gets its name.

    Raises:
        SrganError: the encoder fails.
        OSError: the disk is full.
    """
    if file_format == "jxl":
        quality = None if options.lossless else options.quality
        with atomic_file(target) as temporary:
            jxl.write(raw, size, channels, temporary, quality, metadata.exif, metadata.xmp)
            finish(temporary)
        return
    deep = dtype == np.uint16
    image = pyvips.Image.rawload(os.fsencode(raw), *size, channels, format="ushort" if deep else "uchar")
    image = image.copy(interpretation=("grey16" if deep else "b-w") if channels < 3 else ("rgb16" if deep else "srgb"))
    with atomic_file(target) as temporary:
        try:
            _encode(image, temporary, file_format, options, metadata)
        except pyvips.Error as error:
            if os.strerror(errno.ENOSPC) in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise SrganError(f"{target}: could not be written: {final_name(' '.join(str(error).split()))}") from error
        finally:
            del image  # it holds the raw file open
        embed(temporary, target, file_format, metadata, size, alpha=channels in (2, 4))
        finish(temporary)


def _encode(image: Any, path: Path, file_format: str, options: Options, metadata: Metadata) -> None:
    """Write the pixels and the metadata that libvips writes as it should."""
    image = image.copy(xres=metadata.dpi[0] / 25.4, yres=metadata.dpi[1] / 25.4)
    blob, name = pyvips.GValue.blob_type, os.fsencode(path)  # a name need not be UTF-8
    if metadata.icc_profile:
        image.set_type(blob, "icc-profile-data", metadata.icc_profile)
    if metadata.xmp and file_format not in ("png", "jpeg"):
        image.set_type(blob, "xmp-data", metadata.xmp)
    keep = KEEP_XMP | KEEP_ICC
    match file_format:
        case "png":
            image.pngsave(name, compression=3, filter="paeth", keep=keep)
        case "tiff":
            large = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1) > 2**32 - 2**24
            image.tiffsave(name, compression="deflate", predictor="horizontal", bigtiff=large, keep=keep)
        case "jpeg":
            # At high quality, colour has the full resolution. Halved colour, the usual choice, would undo the upscaling.
            image.jpegsave(name, Q=options.quality, subsample_mode="auto", keep=keep)
        case "webp":
            image.webpsave(name, Q=options.quality, lossless=options.lossless, smart_subsample=True, keep=keep)
        case "avif":
            if metadata.exif:  # libvips writes its boxes
                image.set_type(blob, "exif-data", b"Exif\0\0" + metadata.exif)
            image.heifsave(name, compression="av1", Q=options.quality, lossless=options.lossless, effort=2, keep=keep | KEEP_EXIF)


def resize(raw: Path, target: Path, shape: tuple[int, int, int], dtype: type, size: tuple[int, int]) -> None:
    """Resize a file of raw pixels with Lanczos, in strips. The result equals that of the whole image, except for rounding.

    Args:
        raw: the file, which is replaced.
        target: the final file. Temporary files are written next to it.
        shape: height, width and channels.
        dtype: uint8 or uint16.
        size: new width and height.
    """
    pixels, (width, height) = np.memmap(raw, dtype, "r", shape=shape), size
    step = shape[0] / height
    reach = math.ceil(3 * max(step, 1)) + 1  # rows that a Lanczos kernel of three lobes covers
    with scratch_file(target, "resized") as new:
        with new.open("wb") as file:
            for top in range(0, height, ROWS_PER_STRIP):
                bottom = min(top + ROWS_PER_STRIP, height)
                first, last = max(math.floor(top * step) - reach, 0), min(math.ceil(bottom * step) + reach, shape[0])
                box = (0, top * step - first, shape[1], min(bottom * step, shape[0]) - first)
                file.write(np.ascontiguousarray(_lanczos(np.asarray(pixels[first:last]), (width, bottom - top), box)).data)
        del pixels  # Windows changes no file that is mapped
        copy(new, raw)  # a renamed file would lack the lock of the raw file, and another process could remove it


def _lanczos(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Resize with Pillow, which takes 8 bits and float32."""
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box))
    planes = [Image.fromarray(np.float32(pixels[..., channel])) for channel in range(pixels.shape[2])]
    resized = np.dstack([np.asarray(plane.resize(size, Image.Resampling.LANCZOS, box)) for plane in planes])
    return np.rint(np.clip(resized, 0, 65535)).astype(np.uint16)
