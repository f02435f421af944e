"""Upscale all pages of a TIFF file into one file."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from srgan.images.decoded import DecodedImage
from srgan.images.write import Options
from srgan.inference.photo import OnTile, upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, copy_dates, scratch_file

MAX_BYTES = 2**32 - 2**24  # of a TIFF file, whose offsets have 32 bits


def upscale_pages(
    upscaler: Upscaler,
    source: Path | BinaryIO,
    target: Path,
    options: Options,
    on_tile: OnTile,
    first: DecodedImage,
    others: Iterable[DecodedImage],
) -> tuple[int, int]:
    """Upscale all pages of a TIFF file one after the other. Each keeps its own size, colours, depth and resolution.

    Args:
        upscaler: the model.
        source: the file, or an open file that can seek.
        target: the TIFF file to write. It is replaced as a whole or not at all.
        options: how the result is written. The EXIF is written into the first page.
        on_tile: is called after each tile with the number of finished tiles and an estimate of all tiles.
        first: the decoded first page.
        others: the decoded other pages.

    Returns:
        Width and height of the first page of the result.

    Raises:
        SrganError: the result has more than 4 GB, or it would be signed.
    """
    if options.credentials:
        raise SrganError(f"{target}: content credentials fit a file of one page, this one has {len(first.pages)}. Leave out --credentials")
    size, before = (0, 0), 0
    with atomic_file(target) as whole, scratch_file(target, "page") as page:
        for number, image in enumerate(chain([first], (replace(other, exif=Image.Exif()) for other in others))):
            tiles = upscaler.tile_count(image.pixels)
            expected = before + tiles * (len(first.pages) - number)

            def shown(done: int, total: int, before: int = before, expected: int = expected) -> None:
                on_tile(before + done, expected)

            made = upscale_file(upscaler, source, page, options, "tiff", shown, replace(image, pages=(0,)))
            size, before = size if number else made, before + tiles
            if whole.stat().st_size + page.stat().st_size > MAX_BYTES:
                raise SrganError(f"{target}: its {len(first.pages)} pages exceed 4 GB. Name a smaller size, or upscale parts of the file")
            _append(whole, page)
    if options.keep_dates and isinstance(source, Path):
        copy_dates(source, target)
    return size


def _append(whole: Path, page: Path) -> None:
    """Append a page to a TIFF file, which is empty before the first."""
    with page.open("rb") as file, TiffImagePlugin.AppendingTiffWriter(str(whole)) as writer:
        while part := file.read(1 << 20):
            writer.write(part)
