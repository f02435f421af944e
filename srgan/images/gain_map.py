"""Keep the gain map of an Ultra HDR photograph: a small second JPEG with the additional brightness of each place on HDR screens.

The gain map covers the whole image and may have another size (ISO 21496-1, Ultra HDR 1.1). It is therefore copied as it is, with
its own metadata, and only turned if the image was turned. The image before it names it by a directory (CIPA DC-007) and by the marks of the
standards that the gain map follows.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree import ElementTree

from PIL import Image

from srgan.images.xmp import RDF, Packet

ISO_MARK = b"urn:iso:std:iso:ts:21496:-1\0"  # of the segment with version or values
ISO_VERSION = bytes(4)  # minimum and current version, both 0 (ISO 21496-1, annex C)
ADOBE, CONTAINER = "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.google.com/photos/1.0/container/"
ITEM = f"{CONTAINER}item/"
# Pillow's method for each EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED_QUALITY = 95
PRIMARY_TYPE = 0x030000  # of an MP entry: baseline primary image. That of a gain map is 0, not defined (DC-007, 5.2.3.3.1)


@dataclass(frozen=True)
class GainMap:
    """A gain map.

    Attributes:
        content: the JPEG file of the gain map with its metadata.
        length: of the map in the file that it was read from.
    """

    content: bytes
    length: int

    @property
    def follows_iso(self) -> bool:
        """Return whether its values are stored by ISO 21496-1."""
        return any(ISO_MARK in segment for segment in _segments(self.content))

    @property
    def follows_adobe(self) -> bool:
        """Return whether its values are stored as XMP, by Ultra HDR 1.0."""
        return any(ADOBE.encode() in segment for segment in _segments(self.content))

    def upright(self, orientation: int) -> "GainMap":
        """Return the gain map of an image whose EXIF orientation was applied."""
        if orientation not in TURNS:
            return self
        file = io.BytesIO()
        with Image.open(io.BytesIO(self.content), formats=["JPEG"]) as image:
            image.transpose(TURNS[orientation]).save(file, "JPEG", quality=TURNED_QUALITY, subsampling=0)
        return GainMap(b"\xff\xd8" + b"".join(_segments(self.content)) + file.getvalue()[2:], self.length)

    def marks(self, before: int, behind: int) -> bytes:
        """Return the segments that name the gain map in the image before it.

        Args:
            before: bytes of the image before these segments.
            behind: bytes of the image behind them.
        """
        mark = _segment(ISO_MARK + ISO_VERSION) if self.follows_iso else b""
        size = before + len(mark) + len(_directory(0, 0, 0)) + behind
        return mark + _directory(size, len(self.content), size - before - len(mark) - 8)  # offsets count from the byte order, at 8

    def describe(self, packet: Packet) -> None:
        """Name the gain map in the XMP of the image, if it follows Ultra HDR 1.0."""
        if not self.follows_adobe:
            return
        for address, prefix in ((ADOBE, "hdrgm"), (CONTAINER, "Container"), (ITEM, "Item")):
            packet.declare(address, prefix)
        packet.add(ADOBE, "Version", "1.0")
        items = ElementTree.SubElement(ElementTree.SubElement(packet.descriptions[0], f"{{{CONTAINER}}}Directory"), f"{{{RDF}}}Seq")
        for semantic, length in (("Primary", 0), ("GainMap", len(self.content))):
            entry = ElementTree.SubElement(items, f"{{{RDF}}}li", {f"{{{RDF}}}parseType": "Resource"})
            values = {"Semantic": semantic, "Mime": "image/jpeg"} | ({"Length": str(length)} if length else {})
            ElementTree.SubElement(entry, f"{{{CONTAINER}}}Item", {f"{{{ITEM}}}{name}": value for name, value in values.items()})


def read_gain_map(file: BinaryIO) -> GainMap | None:
    """Return the gain map of a JPEG file, None if it has none of a known standard or libvips is missing.

    Args:
        file: an open file that can seek.
    """
    file.seek(0)
    content = file.read()
    if ISO_MARK not in content and ADOBE.encode() not in content:
        return None
    try:
        import pyvips  # a training on a machine without it reads the photographs too, and needs no gain map
    except ImportError:
        return None
    try:
        found = pyvips.Image.uhdrload_buffer(content).get("gainmap-data")
    except pyvips.Error:  # damaged, or made by a standard that is not known
        return None
    return GainMap(found, len(found))


def _segments(content: bytes) -> Iterator[bytes]:
    """Yield the application segments at the beginning of a JPEG, but the JFIF header, with marker and length."""
    place = 2
    while content[place : place + 1] == b"\xff" and 0xE0 <= content[place + 1] <= 0xEF:
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if content[place + 1] != 0xE0:
            yield content[place:end]
        place = end


def _segment(content: bytes) -> bytes:
    return b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content


def _directory(size: int, length: int, offset: int) -> bytes:
    """Return the segment with the MP index of two images (CIPA DC-007, 5.2.3)."""
    fields = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    fields += struct.pack(">HHII", 0xB002, 7, 32, 50)  # two entries of 16 bytes behind the index
    entries = struct.pack(">IIIHH", PRIMARY_TYPE, size, 0, 0, 0) + struct.pack(">IIIHH", 0, length, offset, 0, 0)
    return _segment(b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + fields + bytes(4) + entries)
