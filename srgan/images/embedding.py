"""Write metadata into an encoded image, as each format requires."""

import logging
import os
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import TiffImagePlugin, TiffTags

from srgan.images.attachments import IPTC, IPTC_TAG, PHOTOSHOP_HEADER, PHOTOSHOP_TAG, resource
from srgan.images.metadata import EXIF_HEADER, MAX_SEGMENT_BYTES, XMP_HEADER, Metadata
from srgan.images.read import EXIF_IFD, GPS_IFD
from srgan.utils.files import copy, scratch_file

log = logging.getLogger(__name__)


def embed(path: Path, target: Path, file_format: str, metadata: Metadata, size: tuple[int, int], alpha: bool) -> None:
    """Write EXIF, IPTC, comments and text into an encoded image, and the XMP into PNG and JPEG. libvips writes the XMP of other formats.

    Args:
        path: the encoded image.
        target: its final name.
        file_format: its format.
        metadata: the metadata to write.
        size: width and height.
        alpha: whether it has an alpha channel.
    """
    exif, attached = metadata.exif, metadata.attached
    match file_format:
        case "png":
            chunks = [_chunk(b"eXIf", exif)] if exif else []
            # The XMP specification requires this chunk (part 3, 1.1.5).
            chunks += [_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)] if metadata.xmp else []
            chunks += [_chunk(*text) for text in attached.texts]
            if chunks:
                with _rewritten(path, target) as (source, file):
                    file.write(source.read(33))  # signature and IHDR
                    file.write(b"".join(chunks))
        case "jpeg":
            whole = path.stat().st_size
            with _rewritten(path, target) as (source, file):
                start, marker = source.read(2), source.read(2)
                if marker == b"\xff\xe0":  # the JFIF header, which libvips writes in some cases
                    source.read(struct.unpack(">H", source.read(2))[0] - 2)
                    marker = b""
                density = (min(max(round(value), 1), 65535) for value in metadata.dpi)
                file.write(start + b"\xff\xe0\0\x10JFIF\0\1\1" + struct.pack(">BHHBB", 1, *density, 0, 0))  # 1: pixels an inch
                file.writelines(_segment(0xE1, EXIF_HEADER + exif) if exif else [])
                file.writelines(_segment(0xE1, XMP_HEADER + metadata.xmp) if metadata.xmp else [])
                resources = (resource(IPTC, attached.iptc) if attached.iptc else b"") + attached.resources
                room = MAX_SEGMENT_BYTES - len(PHOTOSHOP_HEADER)
                for offset in range(0, len(resources), room):
                    file.writelines(_segment(0xED, PHOTOSHOP_HEADER + resources[offset : offset + room]))
                for comment in attached.comments:
                    file.writelines(_segment(0xFE, comment))
                if metadata.gain_map:
                    file.write(metadata.gain_map.marks(file.tell(), behind=len(marker) + whole - source.tell()))
                file.write(marker)
            if metadata.gain_map:
                with path.open("ab") as file:
                    file.write(metadata.gain_map.content)
        case "webp" if exif:
            path.write_bytes(_webp_with_exif(path.read_bytes(), exif, size, alpha))
        case "tiff":
            tags: dict[int, Any] = {IPTC_TAG: attached.iptc, PHOTOSHOP_TAG: attached.resources}
            tags = {tag: value for tag, value in tags.items() if value}
            if exif:
                tags |= dict(metadata.tags)
                tags |= {part: inside for part in (EXIF_IFD, GPS_IFD) if (inside := metadata.tags.get_ifd(part))}
            if tags and not _append_to_tiff(path, tags):
                log.warning("%s: the result has no EXIF and IPTC, because the TIFF file has more than 4 GB", target)


@contextmanager
def _rewritten(path: Path, target: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Yield a copy of the file to read from, and the emptied file. The unread rest is copied.

    The file itself stays: its lock keeps it from the removal of abandoned files by other processes.
    """
    with scratch_file(target, "former") as former:
        copy(path, former)
        with former.open("rb") as source, path.open("wb") as file:
            yield source, file
            shutil.copyfileobj(source, file, 1 << 20)


def _segment(marker: int, content: bytes) -> Iterable[bytes]:
    """Return a segment of a JPEG."""
    return (bytes([0xFF, marker]), struct.pack(">H", len(content) + 2), content)


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _webp_with_exif(content: bytes, exif: bytes, size: tuple[int, int], alpha: bool) -> bytes:
    """Return the file with an EXIF chunk, in the extended form of WebP (RFC 9649, section 2.7)."""
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


def _append_to_tiff(path: Path, new: dict[int, Any]) -> bool:
    """Append a directory with the former and the new tags to a TIFF file. Return False for a BigTIFF, which stays as it is."""
    with path.open("rb+") as file:
        header = file.read(8)
        order = "<" if header[:2] == b"II" else ">"
        if struct.unpack_from(f"{order}H", header, 2)[0] != 42:
            return False

        def entries(directory: bytes) -> dict[int, bytes]:
            (number,) = struct.unpack_from(f"{order}H", directory)
            found = (directory[2 + 12 * index : 14 + 12 * index] for index in range(number))
            return {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in found}

        file.seek(struct.unpack_from(f"{order}I", header, 4)[0])
        former = entries(file.read(2 + 12 * 65535))
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        for tag, value in new.items():
            tags.tagtype |= {tag: TiffTags.UNDEFINED if tag == IPTC_TAG else TiffTags.BYTE} if tag in (IPTC_TAG, PHOTOSHOP_TAG) else {}
            tags[tag] = value
        offset = file.seek(0, os.SEEK_END)
        offset += file.write(b"\0" * (offset % 2))  # directories begin at even offsets
        added = tags.tobytes(offset)
        merged = sorted((entries(added) | former).items())
        file.write(added)
        file.write(struct.pack(f"{order}H", len(merged)) + b"".join(entry for _, entry in merged) + struct.pack(f"{order}I", 0))
        file.seek(4)
        file.write(struct.pack(f"{order}I", offset + len(added)))
    return True
