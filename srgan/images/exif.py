"""Update EXIF for the upscaled image.

There are two ways. The EXIF block of a JPEG, PNG or WebP is changed in place. Every other byte stays, so that the pointers of maker notes
stay valid. Tags from a TIFF or for a TIFF are copied one by one.
"""

import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from PIL import Image, TiffImagePlugin

from srgan.images.attachments import BYTES, IPTC_TAG, PHOTOSHOP_TAG
from srgan.images.geometry import Geometry
from srgan.images.read import EXIF_IFD, GPS_IFD, ORIENTATION, XMP_TAG, DecodedImage

# Tags that describe the layout of the input (TIFF 6.0, sections 3 to 8 and 11 to 22), or that other modules write.
LAYOUT = {254, 255, *range(256, 267), 273, 277, 278, 279, 280, 281, 282, 283, 284, *range(288, 294), 296, 297, 301, 317, 318, 319, 320}
LAYOUT |= {*range(321, 326), 330, 332, 336, 337, *range(338, 347), 347, *range(512, 522), *range(529, 533), *range(32995, 32999)}
LAYOUT |= {XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, 34675}
# Tags that are wrong for the upscaled image and have no replacement.
UNTRUE = {33550: "the scale of a map", 33922: "the position of a map", 34264: "the position of a map"}
UNTRUE |= {37724: "Photoshop's layers", 50255: "Photoshop's annotations", 52545: "C2PA content credentials"}
DESCRIPTION, MAKER_NOTE, INTEROP = 0x010E, 0x927C, 0xA005
# In IFD0, the Exif IFD and the Interoperability IFD.
WIDTHS, HEIGHTS = (0x0100, 0xA002, 0x1001), (0x0101, 0xA003, 0x1002)
SUBJECT_AREA, SUBJECT_LOCATION, FOCAL_X, FOCAL_Y = 0x9214, 0xA214, 0xA20E, 0xA20F
SHORT, LONG, RATIONAL, IFD = 3, 4, 5, 13


def tags(image: DecodedImage, geometry: Geometry) -> tuple[Image.Exif, list[str]]:
    """Return the tags of the result and the names of those that are left out.

    Maker notes are left out because they point into the input file.

    Raises:
        Exception: any kind, because Pillow raises many kinds for damaged values.
    """
    result, dropped = Image.Exif(), []
    result.endian = image.exif.endian
    for tag in image.exif:
        if tag in UNTRUE:
            dropped.append(UNTRUE[tag])
        elif tag not in LAYOUT and tag not in (EXIF_IFD, GPS_IFD):
            value = _text_as_bytes(image.exif[tag])
            if tag == DESCRIPTION and _describes_pixels(value):
                dropped.append("the ImageDescription, which states the size of the input")
            else:
                result[tag] = value
    for part in (EXIF_IFD, GPS_IFD):
        if inside := image.exif.get_ifd(part):
            result.get_ifd(part).update({tag: _text_as_bytes(value) for tag, value in inside.items()})
    details = result.get_ifd(EXIF_IFD)
    details.pop(INTEROP, None)
    if details.pop(MAKER_NOTE, None) is not None:
        dropped.append("the MakerNote")
    if len(result) or details:
        result[ORIENTATION] = 1
    for names, side in zip((WIDTHS, HEIGHTS), geometry.size, strict=True):
        details.update({tag: side for tag in names if tag in details})
    places = {tag: details.get(tag) for tag in (SUBJECT_AREA, SUBJECT_LOCATION)}
    former: dict[int, Any] = {tag: value for tag, value in places.items() if isinstance(value, tuple) and len(value) in (2, 3, 4)}
    former |= {tag: value for tag in (FOCAL_X, FOCAL_Y) if (value := _fraction(details.get(tag))) is not None}
    for tag, new in _moved(former, geometry).items():
        if new is None:
            del details[tag]
            dropped.append("the EXIF's SubjectArea")
        else:
            details[tag] = TiffImagePlugin.IFDRational(new.numerator, new.denominator) if isinstance(new, Fraction) else new
    return result, dropped


def _text_as_bytes(value: Any) -> Any:
    """Return text as bytes, which keeps it. Pillow reads text as Latin-1 and writes it as ASCII."""
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def _describes_pixels(value: Any) -> bool:
    """Return whether a description is the shape that tifffile writes into a TIFF, or OME-XML."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.startswith('{"shape": [') or "<OME " in text[:4096]


def _fraction(value: Any) -> Fraction | None:
    try:
        return Fraction(value.numerator, value.denominator)
    except (AttributeError, ZeroDivisionError, TypeError, ValueError, OverflowError):
        return None


def _moved(former: Mapping[int, Any], geometry: Geometry) -> dict[int, Any]:
    """Return the values that refer to pixels (EXIF 2.32, 4.6.5 and 4.6.6). A value is None if EXIF cannot hold it."""
    new: dict[int, Any] = {}
    for tag in (SUBJECT_AREA, SUBJECT_LOCATION):
        if tag in former:
            values = geometry.subject(former[tag])
            new[tag] = values if min(values) >= 0 and max(values) < 65536 else None
    # Pixels per length on the sensor. Programs compute the size of the sensor from it.
    for tag, factor in zip((FOCAL_X, FOCAL_Y), geometry.factors, strict=True):
        if tag in former:
            new[tag] = min((former[tag] * factor).limit_denominator(10_000), Fraction(2**32 - 1))
    return new


# -- a block, in place -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: its position, its type, and the position, number and total length of its values."""

    tag: int
    place: int
    kind: int
    values: int
    count: int
    length: int


class _Block:
    """An EXIF block, which has the structure of a TIFF. Bytes are written only at offsets of entries and values."""

    def __init__(self, block: bytes) -> None:
        self.data = bytearray(block)
        if self.data[:2] not in (b"II", b"MM"):
            raise ValueError("it does not begin with a byte order")
        self.order = "<" if self.data[:2] == b"II" else ">"

    def read(self, form: str, place: int) -> tuple[Any, ...]:
        return struct.unpack_from(self.order + form, self.data, place)

    def write(self, form: str, place: int, *values: int) -> None:
        struct.pack_into(self.order + form, self.data, place, *values)

    def end(self, directory: int) -> int:
        """Return the end of its entries. The offset of the next directory follows. Writers such as piexif omit it after the Exif IFD."""
        return directory + 2 + 12 * self.read("H", directory)[0]

    def entries(self, directory: int | None) -> list[_Entry]:
        found = []
        for place in range(directory + 2, self.end(directory), 12) if directory is not None else ():
            tag, kind, count = self.read("HHI", place)
            length = BYTES.get(kind, 0) * count
            found.append(_Entry(tag, place, kind, place + 8 if length <= 4 else self.read("I", place + 8)[0], count, length))
        return found

    def directory(self, entries: list[_Entry], tag: int) -> int | None:
        """Return the directory that an entry points to."""
        return next((self.read("I", entry.place + 8)[0] for entry in entries if entry.tag == tag and entry.kind in (LONG, IFD)), None)

    def set(self, entry: _Entry, value: int) -> None:
        """Set an entry to one integer."""
        if value < 65536 and entry.kind == SHORT:
            self.write("HIHH", entry.place + 2, SHORT, 1, value, 0)
        else:
            self.write("HII", entry.place + 2, LONG, 1, value)

    def remove(self, directory: int, entry: _Entry) -> None:
        """Remove an entry. Later entries move up, and zeros follow, which mean no next directory."""
        end = self.end(directory)
        self.data[entry.place : end] = self.data[entry.place + 12 : end] + bytes(12)
        self.write("H", directory, self.read("H", directory)[0] - 1)


def patched(block: bytes, geometry: Geometry) -> tuple[bytes, list[str]]:
    """Return the EXIF block for an upright image of the new size, and the names of the tags that are left out.

    Raises:
        ValueError, struct.error: the block is damaged.
    """
    exif = _Block(block)
    (first,) = exif.read("I", 4)
    main = exif.entries(first)
    details_at = exif.directory(main, EXIF_IFD)
    details = exif.entries(details_at)
    directories = {first: main, details_at: details}
    for entries, tag in ((main, GPS_IFD), (details, INTEROP)):
        with suppress(struct.error):  # an invalid pointer is kept
            place = exif.directory(entries, tag)
            directories[place] = exif.entries(place)
    # The next directory holds the thumbnail.
    end = exif.end(first)
    taken = [(place, exif.end(place)) for place in directories if place is not None]
    taken += [(entry.values, entry.values + entry.length) for entries in directories.values() for entry in entries if entry.length > 4]
    if end + 4 <= len(block) and not any(begin < end + 4 and end < stop for begin, stop in taken):
        exif.write("I", end, 0)
    new = {ORIENTATION: 1} | dict.fromkeys(WIDTHS, geometry.size[0]) | dict.fromkeys(HEIGHTS, geometry.size[1])
    for entry in (entry for entries in directories.values() for entry in entries if entry.tag in new):
        exif.set(entry, new[entry.tag])
    dropped = _patch_moved(exif, details_at, details, geometry) if details_at is not None else []
    return bytes(exif.data), dropped


def _patch_moved(exif: _Block, directory: int, details: list[_Entry], geometry: Geometry) -> list[str]:
    """Change the values of the Exif IFD that refer to pixels. Return the names of removed tags."""
    whole = {entry.tag: entry for entry in details if entry.values + entry.length <= len(exif.data)}
    former: dict[int, Any] = {}
    for tag in (SUBJECT_AREA, SUBJECT_LOCATION):
        if tag in whole and whole[tag].kind == SHORT and whole[tag].count in (2, 3, 4):
            former[tag] = exif.read(f"{whole[tag].count}H", whole[tag].values)
    for tag in (FOCAL_X, FOCAL_Y):
        if tag in whole and whole[tag].kind == RATIONAL and whole[tag].count == 1:
            above, below = exif.read("II", whole[tag].values)
            former |= {tag: Fraction(above, below)} if below else {}
    new = _moved(former, geometry)
    for tag, value in new.items():
        if isinstance(value, Fraction):
            exif.write("II", whole[tag].values, value.numerator, value.denominator)
        elif value is not None:
            exif.write(f"{len(value)}H", whole[tag].values, *value)
    gone = sorted((whole[tag] for tag, value in new.items() if value is None), key=lambda entry: -entry.place)
    for entry in gone:
        exif.remove(directory, entry)
    return ["the EXIF's SubjectArea"] if gone else []
