"""EXIF and XMP of a photograph, into the file of its enlargement.

libvips, which writes the pixels, would write EXIF as well, but leaves out tags that it does not know, and XMP of PNG files in a way of
its own. So a file's EXIF block is kept as it is, but for a few values, and put where the formats want it.
"""

import logging
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from srgan.data.images import EXIF_IFD, GPS_IFD, ORIENTATION, XMP_TAG, Picture
from srgan.errors import SrganError
from srgan.files import scratch_file
from srgan.provenance import add_provenance, upright

# EXIF tags that describe the former file's layout (TIFF 6.0, sections 3 to 8 and 11 to 22), what is written anew from elsewhere, and what
# an enlargement makes untrue: Photoshop's layers, a map's pixel size.
LAYOUT = {254, 255, *range(256, 267), 273, 277, 278, 279, 280, 281, 282, 283, 284, *range(288, 294), 296, 297, 301, 317, 318, 319, 320}
LAYOUT |= {*range(321, 326), 330, 332, 336, 337, *range(338, 347), 347, *range(512, 522), *range(529, 533), XMP_TAG, 33723, 34377, 34675}
LAYOUT |= {33550, 33922, 34264, 37724, 50255}
WIDTH, HEIGHT, PIXEL_WIDTH, PIXEL_HEIGHT, INTEROP = 0x0100, 0x0101, 0xA002, 0xA003, 0xA005
SHORT, LONG = 3, 4
SEGMENT = 65533  # bytes that a segment of a JPEG holds
EXIF_HEADER, XMP_HEADER = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metadata:
    """What goes into the new file beside its pixels.

    Attributes:
        exif: the block, beginning with its byte order; empty if there is nothing to say.
        tags: the same for TIFF files, whose directory holds it.
        xmp: the packet; empty if there is none.
        icc_profile: of the pixels.
        dpi: pixels an inch.
    """

    exif: bytes
    tags: Image.Exif
    xmp: bytes
    icc_profile: bytes | None
    dpi: tuple[float, float]


def collect(picture: Picture, size: tuple[int, int], form: str, model: dict[str, str] | None, digest: str) -> Metadata:
    """The metadata of an enlargement.

    Args:
        picture: what was enlarged.
        size: width and height of the result.
        form: its format.
        model: the model's `sr.*` entries, to be named in the XMP; None for nobody to know.
        digest: SHA-256 of the model's file.
    """
    tags, exif = _tags(picture, size), b""
    try:
        exif = _patched(picture.exif_block, size) if picture.exif_block else tags.tobytes().removeprefix(EXIF_HEADER)
        tags.tobytes()
    except Exception as error:  # values of types, or at places, that nobody expects
        log.warning("%s: its EXIF is damaged (%s); it is left out", picture.name, error)
        tags, exif = Image.Exif(), b""
    if not (len(tags) or tags.get_ifd(EXIF_IFD) or tags.get_ifd(GPS_IFD)):
        exif = b""
    if form == "jpeg" and len(EXIF_HEADER) + len(exif) > SEGMENT:
        log.warning("%s: its EXIF of %d bytes is more than a JPEG holds; it is left out", picture.name, len(exif))
        exif = b""
    xmp = kept = upright(picture.xmp) if picture.xmp else b""
    if model is not None:
        try:
            xmp = add_provenance(kept, model, digest)
        except SrganError as error:
            log.warning("%s: %s; it is left out", picture.name, error)
            xmp = add_provenance(b"", model, digest, kept)
    if form == "jpeg" and len(XMP_HEADER) + len(xmp) > SEGMENT:
        log.warning("%s: its XMP of %d bytes is more than a JPEG holds; it is left out", picture.name, len(kept))
        xmp = add_provenance(b"", model, digest, kept) if model is not None else b""
    # Formats that must name a resolution get what viewers assume, and so do damaged ones.
    dpi = picture.dpi if picture.dpi and max(picture.dpi) < 1e6 else (72.0, 72.0)
    return Metadata(exif, tags, xmp, picture.icc_profile, dpi)


def embed(path: Path, target: Path, form: str, metadata: Metadata, size: tuple[int, int], alpha: bool) -> None:
    """Write the EXIF into a file of pixels, and the XMP into a PNG or JPEG; the other formats' XMP libvips has written.

    Args:
        path: the file.
        target: what it is going to be called.
        form: its format.
        metadata: what to write.
        size: width and height.
        alpha: whether it has an alpha channel.
    """
    exif = metadata.exif
    match form:
        case "png":
            chunks = [_chunk(b"eXIf", exif)] if exif else []
            # The chunk that the XMP specification asks for (part 3, 1.1.5).
            chunks += [_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)] if metadata.xmp else []
            if chunks:
                with _rewritten(path, target) as (source, file):
                    file.write(source.read(33))  # signature and IHDR
                    file.write(b"".join(chunks))
        case "jpeg":
            with _rewritten(path, target) as (source, file):
                start, marker = source.read(2), source.read(2)
                if marker == b"\xff\xe0":  # the JFIF header, which libvips writes now and then
                    source.read(struct.unpack(">H", source.read(2))[0] - 2)
                    marker = b""
                density = (min(round(value), 65535) for value in metadata.dpi)
                file.write(start + b"\xff\xe0\0\x10JFIF\0\1\1" + struct.pack(">BHHBB", 1, *density, 0, 0))  # 1: pixels an inch
                for content in (EXIF_HEADER + exif if exif else b"", XMP_HEADER + metadata.xmp if metadata.xmp else b""):
                    file.write(b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content if content else b"")
                file.write(marker)
        case "webp" if exif:
            path.write_bytes(_webp_with_exif(path.read_bytes(), exif, size, alpha))
        case "tiff" if exif:
            _append_to_tiff(path, metadata.tags)


def _tags(picture: Picture, size: tuple[int, int]) -> Image.Exif:
    tags = Image.Exif()
    tags.endian = picture.exif.endian
    for tag, value in picture.exif.items():
        if tag not in LAYOUT and tag not in (EXIF_IFD, GPS_IFD):
            tags[tag] = _text_as_bytes(value)
    for part in (EXIF_IFD, GPS_IFD):
        if inside := picture.exif.get_ifd(part):
            tags.get_ifd(part).update({tag: _text_as_bytes(value) for tag, value in inside.items() if tag != INTEROP})
    details = tags.get_ifd(EXIF_IFD)
    if len(tags) or details:
        tags[ORIENTATION] = 1
    if PIXEL_WIDTH in details:
        details[PIXEL_WIDTH], details[PIXEL_HEIGHT] = size
    return tags


def _text_as_bytes(value: Any) -> Any:
    """Pillow reads text as Latin-1 and writes it as ASCII; as bytes it stays what it was."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def _patched(block: bytes, size: tuple[int, int]) -> bytes:
    """An EXIF block of an upright image of this size: changed in place, so that maker notes still find what they point to."""
    data = bytearray(block)
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    width, height = size
    new = {ORIENTATION: 1, WIDTH: width, HEIGHT: height, PIXEL_WIDTH: width, PIXEL_HEIGHT: height}

    def patch(directory: int) -> dict[int, int]:
        """Set the values; where the directory's entries lie, by tag. The pointer to the next one, a thumbnail's, is cleared."""
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        places = {}
        for place in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, place)
            places[tag] = place
            if tag in new and kind in (SHORT, LONG):
                form = "HH" if new[tag] < 65536 and kind == SHORT else "I"
                values = (new[tag], 0) if form == "HH" else (new[tag],)
                struct.pack_into(f"{order}HI{form}", data, place + 2, SHORT if form == "HH" else LONG, 1, *values)
        struct.pack_into(f"{order}I", data, directory + 2 + 12 * count, 0)
        return places

    places = patch(struct.unpack_from(f"{order}I", data, 4)[0])
    if EXIF_IFD in places:
        patch(struct.unpack_from(f"{order}I", data, places[EXIF_IFD] + 8)[0])
    return bytes(data)


# -- into files ------------------------------------------------------------------------------------------------------------


@contextmanager
def _rewritten(path: Path, target: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file to read from, and the one that takes its place; what is not read is copied."""
    with scratch_file(target, "former") as former:
        path.replace(former)
        with former.open("rb") as source, path.open("wb") as file:
            yield source, file
            shutil.copyfileobj(source, file, 1 << 20)


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _webp_with_exif(content: bytes, exif: bytes, size: tuple[int, int], alpha: bool) -> bytes:
    """The file with an EXIF chunk, in the extended form of the format (RFC 9649, section 2.7)."""
    chunks, place = [], 12
    while place + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, place + 4)
        chunks.append((content[place : place + 4], content[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    if chunks[0][0] != b"VP8X":
        width, height = (struct.pack("<I", side - 1)[:3] for side in size)
        chunks.insert(0, (b"VP8X", bytes([0x10 if alpha else 0, 0, 0, 0]) + width + height))
    chunks[0] = (b"VP8X", bytes([chunks[0][1][0] | 0x08]) + chunks[0][1][1:])
    before_xmp = next((n for n, (kind, _) in enumerate(chunks) if kind == b"XMP "), len(chunks))
    chunks.insert(before_xmp, (b"EXIF", exif))
    body = b"".join(kind + struct.pack("<I", len(inside)) + inside + b"\0" * (len(inside) % 2) for kind, inside in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _append_to_tiff(path: Path, exif: Image.Exif) -> None:
    """Give a TIFF file tags: a new directory behind its pixels, with the former one's entries and these."""
    with path.open("rb+") as file:
        header = file.read(8)
        order = "<" if header[:2] == b"II" else ">"
        if struct.unpack_from(f"{order}H", header, 2)[0] != 42:
            log.warning("a TIFF file of more than 4 GB gets no EXIF")
            return

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
        offset = file.seek(0, os.SEEK_END)
        offset += file.write(b"\0" * (offset % 2))  # directories begin at even places
        added = tags.tobytes(offset)
        merged = sorted((entries(added) | former).items())
        file.write(added)
        file.write(struct.pack(f"{order}H", len(merged)) + b"".join(entry for _, entry in merged) + struct.pack(f"{order}I", 0))
        file.seek(4)
        file.write(struct.pack(f"{order}I", offset + len(added)))
