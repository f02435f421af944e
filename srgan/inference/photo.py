"""Upscale image files with their metadata.

`srgan.images.read` lists how each kind of file is read. This is how it is written:

========================  ==========================================================================================
colours                   keep the colour space of the file and its ICC profile
greyscale, 1 bit          greyscale. WebP and AVIF have none and get sRGB. A model that colourizes gives RGB
palette                   RGB
CMYK, LAB                 sRGB
16 bits a channel         16 bits in PNG and TIFF. The other formats get 8 bits
transparency              upscaled separately. JPEG has none and gets a white background
EXIF, XMP, IPTC, text     kept where the format holds them, with the values of the result. A warning names the rest
resolution                the same pixels per inch
several frames, pages     the first. `srgan.inference.pages` upscales all pages of a TIFF file
========================  ==========================================================================================
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from srgan.images.alpha import fill_transparent, upscale_alpha
from srgan.images.hints import paint_hints, to_grey
from srgan.images.metadata import collect
from srgan.images.provenance import MadeBy
from srgan.images.read import DecodedImage, as_rgb, composite_on_white, open_image, to_uint8, warn_of_pages
from srgan.images.sizes import check_factor, remark
from srgan.images.write import (
    COLOUR_FORMATS,
    OPAQUE_FORMATS,
    SIXTEEN_BIT_FORMATS,
    SRGB_FORMATS,
    Options,
    check_size,
    format_of,
    resize,
    write,
)
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import copy_dates, scratch_file

log = logging.getLogger(__name__)

MAX_SRGB_DIFFERENCE = 2  # levels of 255 between sRGB and profiles that are named so
HINTS = "grayscale-hints"  # the recipe that trains with hints

OnTile = Callable[[int, int], None]  # gets the number of finished tiles and of all tiles


def upscale_file(
    upscaler: Upscaler,
    source: Path | BinaryIO,
    target: Path,
    options: Options = Options(),  # noqa: B008 (it is immutable)
    file_format: str | None = None,
    on_tile: OnTile = lambda done, total: None,
    decoded: DecodedImage | None = None,
    hints: str | Path | None = None,
) -> tuple[int, int]:
    """Upscale an image file with its metadata.

    Memory does not grow with the result, except for WebP and AVIF, whose encoders need the whole image.

    Args:
        upscaler: the model.
        source: a file, or an open file that can seek.
        target: the file to write. It is replaced as a whole or not at all.
        options: how the result is written.
        file_format: a value of `srgan.images.suffixes.FORMATS`. Default: by the suffix of `target`.
        on_tile: is called after the image is decoded and after each tile.
        decoded: the result of `open_image` for `source`. Default: it is decoded here.
        hints: strokes of colour for a model that colourizes, see `srgan.images.hints.paint_hints`.

    Returns:
        Width and height of the result.

    Raises:
        SrganError: `source` is not a readable image, the format of `target` is unknown or cannot hold the result, or the hints do not
            fit the image or the model.

    Example:
        >>> from pathlib import Path
        >>> from srgan import Upscaler, upscale_file
        >>> upscale_file(Upscaler("2x-photo-compact-fp32.onnx"), Path("photo.png"), Path("big.webp"))
        (48, 32)
    """
    file_format = file_format or format_of(target)
    image = decoded or open_image(source)
    warn_of_pages(image, "" if file_format == "tiff" else ". A TIFF file (.tif) holds all")
    image = _in_fitting_colours(image, file_format, upscaler.adds_colour)
    if upscaler.adds_colour:
        image = to_grey(image)  # the tint of a scan would be taken as a hint
    if hints and not upscaler.follows_hints:
        raise SrganError(f"{upscaler.path}: was not trained with colour hints. Leave out --hints, or train with prepare.recipe: {HINTS}")
    if hints:
        image = paint_hints(image, hints)
    size = _result_size(image, options, upscaler.scale)
    check_size(target, file_format, size)
    try:
        with scratch_file(target, "pixels") as raw:  # not in /tmp, which may be a RAM disk
            channels, dtype = _upscale(raw, upscaler, image, file_format, on_tile)
            upscaler.release()  # the encoder needs memory too
            height, width = (side * upscaler.scale for side in image.pixels.shape[:2])
            if size != (width, height):
                resize(raw, target, (height, width, channels), dtype, size)
            sign = _signature(upscaler, source, target, file_format, options.credentials) if options.credentials else lambda path: None
            made_by = MadeBy(upscaler.metadata, upscaler.sha256, options.described(upscaler.scale, file_format, upscaler.refinement))
            metadata = collect(image, source, size, file_format, made_by if options.provenance else None)
            write(raw, size, channels, dtype, target, file_format, options, metadata, sign)
    except OSError as error:
        error.filename = error.filename or str(target)  # a failed write does not name the file
        raise
    if options.keep_dates and isinstance(source, str | Path):
        copy_dates(source, target)
    return size


def _result_size(image: DecodedImage, options: Options, scale: int) -> tuple[int, int]:
    """Return width and height of the result. A warning names an enlargement by interpolation, or an image that has the wanted size."""
    height, width = image.pixels.shape[:2]
    size = options.result_size(width, height, scale)
    check_factor(size, (width, height), image.name)
    text = remark(size, (width, height), scale)
    if text and (options.size or size > (width * scale, height * scale)):
        log.warning("%s: %s", image.name, text)
    return size


def _signature(upscaler: Upscaler, source: Path | BinaryIO, target: Path, file_format: str, pem: Path) -> Callable[[Path], None]:
    """Return a function that adds content credentials to a file."""
    try:
        from srgan.images import credentials  # needs optional packages
    except ImportError as error:
        raise SrganError(f"content credentials need more packages ({error}). Install them with: pip install 'srgan[c2pa]'") from error
    signer = credentials.read_signer(pem)
    return lambda path: credentials.attach(path, file_format, target.name, source, upscaler.metadata, upscaler.sha256, signer)


def _in_fitting_colours(image: DecodedImage, file_format: str, colourized: bool) -> DecodedImage:
    """Return the image with a colour profile that fits the result, or with sRGB pixels and no profile.

    Grey pixels become sRGB tones if the result is coloured, or if their profile is one for colours.
    """
    profile = image.icc_profile
    if not profile:
        return image
    grey = image.pixels.ndim == 2
    if file_format in SRGB_FORMATS and profile[16:20] in (b"RGB ", b"GRAY" if grey else b"RGB "):
        return _in_srgb(image, profile, file_format)
    space, wanted = profile[16:20], b"GRAY" if grey and not (colourized or _coloured(image, file_format)) else b"RGB "
    if space == wanted:
        return image
    if grey and space in (b"GRAY", b"RGB "):
        try:
            return replace(image, pixels=_srgb_tones(image.pixels, profile), icc_profile=None)
        except (OSError, ImageCms.PyCMSError):
            return image  # the profile is damaged, which `collect` reports
    if profile[36:40] == b"acsp":  # otherwise it is damaged too
        kind = space.decode("ascii", "replace").strip()
        log.warning("%s: its colour profile is for %s, its pixels are %s. It is left out", image.name, kind, "grey" if grey else "RGB")
        return replace(image, icc_profile=None)
    return image


def _in_srgb(image: DecodedImage, profile: bytes, file_format: str) -> DecodedImage:
    """Return the image with sRGB pixels, for a format whose encoder writes no profile. They have 8 bits if they change."""
    try:
        if image.pixels.ndim == 2:
            return replace(image, pixels=_srgb_tones(image.pixels, profile), icc_profile=None)
        samples = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)
        if np.abs(_srgb_colours(samples, profile).astype(int) - samples).max() <= MAX_SRGB_DIFFERENCE:
            return replace(image, icc_profile=None)
        pixels, alpha = _srgb_colours(to_uint8(image.pixels), profile), None if image.alpha is None else to_uint8(image.alpha)
    except (OSError, ImageCms.PyCMSError):
        return image  # the profile is damaged, which `collect` reports
    log.warning("%s: its colours are converted to sRGB, because the encoder of %s writes no colour profile", image.name, file_format)
    return replace(image, pixels=pixels, alpha=alpha, icc_profile=None)


def _srgb_colours(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert `(H, W, 3)` uint8 from the colours of a profile to sRGB."""
    source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    transformed = ImageCms.profileToProfile(Image.fromarray(pixels), source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    assert transformed is not None
    return np.asarray(transformed)


def _coloured(image: DecodedImage, file_format: str) -> bool:
    """Return whether the result has three colour channels. Few programs read 16-bit grey with alpha from a TIFF file."""
    deep_tiff = image.alpha is not None and file_format == "tiff" and image.pixels.dtype == np.uint16
    return image.pixels.ndim == 3 or file_format in COLOUR_FORMATS or deep_tiff


def _srgb_tones(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert grey pixels `(H, W)`, uint8 or uint16, from the tones of a profile to sRGB."""
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


def _upscale(raw: Path, upscaler: Upscaler, image: DecodedImage, file_format: str, on_tile: OnTile) -> tuple[int, type]:
    """Write the upscaled pixels as the encoder needs them. Return the number of channels and the type."""
    pixels, alpha = image.pixels, image.alpha
    dtype = np.uint16 if pixels.dtype == np.uint16 and file_format in SIXTEEN_BIT_FORMATS else np.uint8
    if alpha is not None:
        pixels = fill_transparent(pixels, alpha)
        alpha = to_uint8(alpha) if dtype == np.uint8 else alpha
    coloured, opaque = upscaler.adds_colour or _coloured(image, file_format), file_format in OPAQUE_FORMATS
    channels = (3 if coloured else 1) + (alpha is not None and not opaque)
    upscaler = upscaler.for_image(pixels)
    total, tile, top = upscaler.tile_count(pixels), 0, 0

    def finish_tile() -> None:
        nonlocal tile
        tile += 1
        on_tile(tile, max(total, tile))

    on_tile(0, total)
    with raw.open("wb") as file:
        for strip in upscaler.strips(pixels, dtype, finish_tile):
            strip = as_rgb(strip) if coloured else strip
            if alpha is not None:
                rows = _alpha_rows(alpha, upscaler.scale, top, len(strip))
                strip = composite_on_white(strip, rows) if opaque else np.dstack([strip, rows])
            top += len(strip)
            file.write(np.ascontiguousarray(strip).data)
    return channels, dtype


def _alpha_rows(alpha: np.ndarray, scale: int, top: int, rows: int) -> np.ndarray:
    """Return some rows of the upscaled alpha channel."""
    begin, end = top // scale, (top + rows) // scale
    first = max(begin - 2, 0)  # bicubic interpolation uses two rows on either side
    return upscale_alpha(alpha[first : end + 2], scale)[top - first * scale :][:rows]
