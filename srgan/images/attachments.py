"""Read further metadata of image files: IPTC, Photoshop's resources, comments, PNG text and unknown blocks.

Pillow returns only a part of them, and not as they are stored.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from srgan.images.gain_map import ISO_MARK

PHOTOSHOP_HEADER, XMP_EXTENSION = b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
# Segments of a JPEG that other modules read, or that describe the compression of the input.
JPEG_KNOWN = (b"JFIF\0", b"JFXX\0", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0", ISO_MARK, b"Adobe")
# Chunks of a PNG (third edition, 11.2 and 11.3, and Apple's iDOT) of the same kind. Text chunks are checked one by one.
PNG_KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD"}
PNG_KNOWN |= {b"hIST", b"pHYs", b"sPLT", b"eXIf", b"tIME", b"acTL", b"fcTL", b"fdAT", b"iDOT", b"vpAg", b"orNT"}
TEXT = (b"tEXt", b"zTXt", b"iTXt")
# Texts of a PNG that other modules read, and prefixes of texts that repeat EXIF or state the size of the input.
TEXT_KNOWN = {b"XML:com.adobe.xmp", b"Raw profile type xmp", b"Raw profile type exif"}
TEXT_UNTRUE = (b"exif:", b"tiff:", b"Thumb::", b"Raw profile type icc", b"Raw profile type icm", b"Raw profile type APP1")
WEBP_KNOWN = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
AVIF_KNOWN = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"}
C2PA = "C2PA content credentials"
# Image resources (Adobe Photoshop File Formats Specification): IPTC, those that repeat other metadata (colour profile, EXIF, XMP) and those
# that describe the input's pixels: thumbnails, layers, guides, slices.
IPTC = 0x0404
IPTC_TAG, PHOTOSHOP_TAG = 33723, 34377  # of a TIFF
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of a TIFF's value, by its type
RESOURCES_LEFT_OUT = {0x0400, 0x0402, 0x0408, 0x0409, 0x040C, 0x040F, 0x0410, 0x041A, 0x0422, 0x0423, 0x0424, 0x042D, 0x0430}
PATHS = {*range(2000, 2998)}  # relative to the image, as it is stored


@dataclass
class Attachments:
    """Metadata for a file of the same format, and the names of metadata that are dropped.

    Attributes:
        iptc: records of the IPTC-IIM.
        resources: Photoshop's image resources without the IPTC, each with its header.
        comments: comments of a JPEG or GIF.
        texts: type and content of a PNG's text chunks.
        lost: names of dropped metadata for a message.
    """

    iptc: bytes = b""
    resources: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add_resources(self, content: bytes, upright: bool) -> None:
        """Add Photoshop's image resources. Paths are kept if the image was not turned."""
        kept = []
        for code, data, whole in _resources(content):
            if code == IPTC:
                self.iptc = self.iptc or data
            elif code in PATHS and not upright:
                self.lost.append("Photoshop's paths (the image was turned)")
            elif code not in RESOURCES_LEFT_OUT:
                kept.append(whole)
        self.resources = b"".join(kept)


def read_attachments(source: str | Path | BinaryIO, upright: bool, read: int = 0) -> Attachments:
    """Read the metadata of a file.

    Args:
        source: an image file that can be decoded.
        upright: whether its EXIF orientation is 1.
        read: bytes behind a JPEG that are known already.

    Raises:
        struct.error, IndexError, OverflowError, OSError: the file is damaged.
    """
    found = Attachments()
    with Path(source).open("rb") if isinstance(source, str | Path) else nullcontext(source) as file:
        file.seek(0)
        start = file.read(8)
        file.seek(0)
        if start[:2] == b"\xff\xd8":
            _of_jpeg(found, file.read(), upright, read)
        elif start[:4] == b"\x89PNG":
            _of_png(found, file)
        elif start[:4] in (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"):
            _of_tiff(found, file, upright)
        elif start[:3] == b"GIF":
            _of_gif(found, file.read())
        elif start[:4] == b"RIFF":
            found.lost += _others(file, 12, "<4sI", WEBP_KNOWN, "WebP chunk")
        elif start[4:] == b"ftyp":
            found.lost += _others(file, 0, ">I4s", AVIF_KNOWN, "AVIF box")
    found.lost = list(dict.fromkeys(found.lost))
    return found


def _of_jpeg(found: Attachments, content: bytes, upright: bool, read: int) -> None:
    resources = []
    for marker, inside in _segments(content):
        if marker == 0xFE:
            found.comments.append(inside)
        elif marker == 0xED and inside.startswith(PHOTOSHOP_HEADER):
            resources.append(inside[len(PHOTOSHOP_HEADER) :])  # one may continue in the next segment
        elif marker == 0xEB and inside[:2] == b"JP":
            found.lost.append(C2PA if b"c2pa" in inside[:64] else "JPEG segment APP11 (JUMBF)")
        elif inside.startswith(XMP_EXTENSION):
            found.lost.append("the extended XMP")
        elif 0xE0 <= marker <= 0xEF and not inside.startswith(JPEG_KNOWN) and not (inside[:5] == b"Ducky" and len(inside) < 20):
            found.lost.append(f"JPEG segment APP{marker - 0xE0} ({_shown(inside[:30].split(bytes(1), 1)[0])})")
        elif marker == 0xD9 and (behind := len(inside) - read) > 64 and inside.strip(b"\0"):
            found.lost.append(f"{behind:,} bytes behind the image{' (a video, a gain map or other images)' if behind > 4096 else ''}")
    found.add_resources(b"".join(resources), upright)


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of a JPEG's segments. The content of the last one, end of image, is the rest of the file."""
    marker_in_scan, place = re.compile(rb"\xff[^\0\xff\xd0-\xd7]"), 2
    while found := marker_in_scan.search(content, place):
        marker, place = content[found.start() + 1], found.end()
        if marker == 0xD9:
            yield marker, content[place:]
            return
        length = int.from_bytes(content[place : place + 2], "big")
        yield marker, content[place + 2 : place + length]
        place += max(length, 2)


def _of_png(found: Attachments, file: BinaryIO) -> None:
    place, size = 8, file.seek(0, 2)
    while place + 12 <= size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        place += 12 + length
        if kind in TEXT:
            content = file.read(min(length, size))
            name = content.split(b"\0", 1)[0]
            if name.startswith(TEXT_UNTRUE):
                found.lost.append(f"PNG text '{_shown(name)}'")
            elif name and name not in TEXT_KNOWN:
                found.texts.append((kind, content))
        elif kind not in PNG_KNOWN:
            found.lost.append(C2PA if kind == b"caBX" else f"PNG chunk {_shown(kind)}")
        if kind == b"IEND":
            break
    if size - place > 64:
        found.lost.append(f"{size - place:,} bytes behind the image")


def _others(file: BinaryIO, place: int, header: str, known: set[bytes], label: str) -> Iterator[str]:
    """Yield the names of unknown chunks of a RIFF file or boxes of an AVIF file."""
    size = file.seek(0, 2)
    while place + 8 <= size:
        file.seek(place)
        values = struct.unpack(header, file.read(8))
        kind, length = values if header[0] == "<" else values[::-1]
        if kind not in known:
            yield C2PA if kind == b"C2PA" else f"{label} {_shown(kind)}"
        if header[0] == "<":
            place += 8 + length + length % 2
        elif length == 1:
            place += max(int.from_bytes(file.read(8), "big"), 16)
        else:
            place += max(length, 8) if length else size


def _of_tiff(found: Attachments, file: BinaryIO, upright: bool) -> None:
    start, size = file.read(16), file.seek(0, 2)
    order, big = "<" if start[:2] == b"II" else ">", start[2:4] in (b"+\0", b"\0+")
    file.seek(struct.unpack_from(f"{order}Q", start, 8)[0] if big else struct.unpack_from(f"{order}I", start, 4)[0])
    count, entry = ("Q", "HHQQ") if big else ("H", "HHII")
    number = struct.unpack(order + count, file.read(struct.calcsize(f"={count}")))[0]
    step = struct.calcsize(f"={entry}")
    directory = file.read(min(number, 65535) * step)
    values = {}
    for place in range(0, len(directory) - step + 1, step):
        tag, kind, length, offset = struct.unpack_from(order + entry, directory, place)
        if tag in (IPTC_TAG, PHOTOSHOP_TAG) and length * BYTES.get(kind, 0) > 8:
            file.seek(offset)
            values[tag] = file.read(min(length * BYTES[kind], size))  # a damaged length may be terabytes
    iptc = values.get(IPTC_TAG, b"")
    if iptc[:1] != b"\x1c" and iptc[3:4] == b"\x1c":  # stored as numbers of four bytes in the other byte order
        words = struct.unpack(f"<{len(iptc) // 4}I", iptc[: len(iptc) // 4 * 4])
        iptc = struct.pack(f">{len(words)}I", *words)
    found.iptc = iptc
    found.add_resources(values.get(PHOTOSHOP_TAG, b""), upright)


def _of_gif(found: Attachments, content: bytes) -> None:
    """Read comments and the names of blocks that Pillow does not read (GIF89a, 18 to 26)."""
    place = 13 + _colours(content[10])
    while (kind := content[place : place + 1]) in (b"!", b","):
        label, parts = content[place + 1], []
        place += 2 if kind == b"!" else 11 + _colours(content[place + 9])  # an extension, or an image and its code size
        while length := content[place]:
            parts.append(content[place + 1 : place + 1 + length])
            place += 1 + length
        place += 1
        if kind == b"!" and label == 0xFE:
            found.comments.append(b"".join(parts))
        elif kind == b"!" and label == 0xFF and parts and parts[0][:8] not in (b"NETSCAPE", b"ANIMEXTS"):
            names = {b"XMP Data": "the XMP of a GIF", b"ICCRGBG1": "the ICC profile of a GIF (the colours are read as sRGB)"}
            found.lost.append(names.get(parts[0][:8], f"GIF extension {_shown(parts[0])}"))


def _colours(flags: int) -> int:
    """Return the size in bytes of the colour table that a GIF's flags announce."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


def _resources(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number and content of image resources, and the resource as it is stored."""
    place = 0
    while content[place : place + 4] == b"8BIM" and place + 7 <= len(content):
        code, name = struct.unpack_from(">HB", content, place + 4)
        begin = place + 6 + (name + 2) // 2 * 2 + 4  # the name and its length are padded to an even length
        length = int.from_bytes(content[begin - 4 : begin], "big")
        if begin + length > len(content):
            return
        end = begin + length + length % 2
        yield code, content[begin : begin + length], content[place:end].ljust(end - place, b"\0")
        place = end


def resource(code: int, data: bytes) -> bytes:
    """Return an image resource of Photoshop as it is stored."""
    return b"8BIM" + struct.pack(">HHI", code, 0, len(data)) + data + b"\0" * (len(data) % 2)


def text_name(content: bytes) -> str:
    """Return the keyword of a PNG text."""
    return _shown(content.split(b"\0", 1)[0])


def _shown(name: bytes) -> str:
    """Return a name of a file in printable characters."""
    return re.sub(r"[^\x20-\x7e]", "?", name.decode("latin-1"))[:60]
