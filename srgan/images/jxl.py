"""Read and write JPEG XL files (ISO/IEC 18181) with libjxl (package ``pillow-jxl-plugin``)."""

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from srgan.images import optional
from srgan.images.colours import boxes
from srgan.utils.errors import SrganError

CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, by number - 1 (18181-1, table F.2)
SIDE_BITS = (9, 13, 18, 30)  # of a side, by selector
ORIENTATION = 0x0112
MAX_METADATA_BYTES = 32 << 20
BROTLI = optional.Extra("brotli", "jxl", "metadata of JPEG XL", ())
HEAD = 64  # bytes of a codestream that hold the fields below


def is_jxl(head: bytes) -> bool:
    """Return whether a file is JPEG XL by its first bytes."""
    return head.startswith((CODESTREAM, CONTAINER))


class _Bits:
    """Fields of a codestream, from the lowest bit of each byte on."""

    def __init__(self, content: bytes) -> None:
        self.rest, self.left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self.left:
            raise ValueError("its header is incomplete")
        value, self.rest, self.left = self.rest & ((1 << count) - 1), self.rest >> count, self.left - count
        return value


def read_size(file: BinaryIO) -> tuple[int, int, bool]:
    """Return width, height and whether the file is an animation, from its header.

    libjxl's plugin decodes the pixels when it opens a file, so the size has to be checked before.

    Raises:
        ValueError: the header is damaged.
    """
    file.seek(0)
    start = file.read(HEAD)
    if not start.startswith(CODESTREAM):
        # jxlc holds the codestream, jxlp a part of it behind four bytes (18181-2, 9.8 and 9.9)
        whole = next(boxes(file, ("jxlc",), []), None)
        start = whole if whole is not None else next(boxes(file, ("jxlp",), []), b"")[4:]
    if not start.startswith(CODESTREAM):
        raise ValueError("its header is damaged")
    bits = _Bits(start[2:HEAD])
    width, height = _size(bits)
    animated = False
    if not bits.take(1) and bits.take(1):  # not the defaults, but extra fields
        bits.take(3)  # orientation, which the decoder applies
        if bits.take(1):
            _size(bits)  # the intrinsic size
        animated = not bits.take(1) and bool(bits.take(1))  # a preview, which no known encoder writes, hides the second bit
    return width, height, animated


def _size(bits: _Bits) -> tuple[int, int]:
    """Read width and height (18181-1, D.2)."""
    small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if small else bits.take(SIDE_BITS[bits.take(2)]) + 1

    height, ratio = side(), bits.take(3)
    if not ratio:
        return side(), height
    across, down = RATIOS[ratio - 1]
    return height * across // down, height


def open_image(file: BinaryIO, name: str) -> Image.Image:
    """Return the decoded image. The decoder has applied the orientation, except in a file that was made from a JPEG.

    Raises:
        SrganError: the decoder is not installed, or the file is an animation.
        ValueError: the file is damaged.
    """
    optional.load(optional.JXL, name)
    if read_size(file)[2]:
        raise SrganError(
            f"{name}: an animated JPEG XL, of which the decoder returns only the last frame. Convert it to an animated PNG, "
            "for example with: djxl in.jxl out.apng"
        )
    file.seek(0)
    image = Image.open(file, formats=["JXL"])
    if next(boxes(file, ("jbrd",), []), None) is not None:  # what makes the JPEG of it again, which the plugin does
        return image
    compressed = {content[:4]: content[4:] for content in boxes(file, ("brob",), [])}
    for kind, key in ((b"Exif", "exif"), (b"xml ", "xmp")):
        content = next(boxes(file, (kind.decode(),), []), None)
        if content is None and kind in compressed:
            content = _decompressed(compressed[kind], name)
        if content:
            image.info[key] = content[4:] if content[:1] == b"\0" else content  # the place of the block behind four bytes, always 0
    image.getexif().pop(ORIENTATION, None)
    return image


def _decompressed(content: bytes, name: str) -> bytes:
    """Return the content of a box that is compressed with Brotli (18181-2, 9.4)."""
    brotli = optional.load(BROTLI, name)
    stream = brotli.Decompressor()
    try:
        text = stream.process(content, output_buffer_limit=MAX_METADATA_BYTES)
    except brotli.error:
        text = b""
    if not stream.is_finished():
        raise ValueError(f"its metadata is damaged or exceeds {MAX_METADATA_BYTES:,} bytes")
    return text


def write(raw: Path, size: tuple[int, int], channels: int, path: Path, quality: int | None, exif: bytes, xmp: bytes) -> None:
    """Encode a file of raw uint8 pixels in sRGB. The encoder needs the whole image in memory.

    Args:
        raw: pixels row by row.
        size: width and height.
        channels: 1 to 4. An even number includes alpha.
        path: the file to write.
        quality: 1..100. None is lossless.
        exif: the block from its byte order on. It may be empty.
        xmp: the packet. It may be empty.
    """
    optional.load(optional.JXL, path.name)
    pixels = np.fromfile(raw, np.uint8).reshape(size[1], size[0], channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    options: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
    if exif:  # four bytes give the place of the block behind them (18181-2, 9.5)
        options["exif"] = bytes(4) + exif
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(path, "JXL", **options, xmp=xmp or None, use_container=True, num_threads=1)
