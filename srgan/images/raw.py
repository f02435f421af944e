"""Develop camera raw files with LibRaw (package ``rawpy``)."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import tifffile
from PIL import Image

from srgan.images import optional
from srgan.images.decoded import DecodedImage
from srgan.images.formats import CFA, DNG_VERSION, LINEAR_RAW, MEANING, RAW_SIGNATURES, check_memory
from srgan.images.xmp import Packet

ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # EXIF's number for a turn that LibRaw applies
EXIF_IFD, GPS_IFD, XMP_TAG = 0x8769, 0x8825, 700
# IFD0 of a raw file describes its preview and its sensor. These tags describe the photograph: ImageDescription, Make, Model, Software,
# DateTime, Artist, Copyright.
KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
TIFF = (b"II*\0", b"MM\0*")
SRGB_CURVE = (2.4, 12.92)  # exponent and slope of IEC 61966-2-1
DEVELOPMENT = "http://ns.adobe.com/camera-raw-settings/1.0/"  # Lightroom would apply these settings to the result


def is_raw(file: BinaryIO, name: str) -> bool:
    """Return whether a file is camera raw, by its suffix or its first bytes."""
    file.seek(0)
    head = file.read(32)
    file.seek(0)
    known = any(head[place:].startswith(signature) for place, signature in RAW_SIGNATURES)
    return known or Path(name).suffix.lower() in optional.RAW.suffixes or (head[:4] in TIFF and _is_dng(file))


def _is_dng(file: BinaryIO) -> bool:
    """Return whether the first page of a TIFF file states the version of DNG, or is the data of a sensor."""
    try:
        tags = tifffile.TiffFile(file).pages.first.tags
        return DNG_VERSION in tags or tags.valueof(MEANING) in (CFA, LINEAR_RAW)
    except Exception:  # the reader of TIFF files reports the damage
        return False
    finally:
        file.seek(0)


def read_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of the developed photograph.

    Raises:
        SrganError: the decoder is not installed.
    """
    with _opened(file, name) as photo:
        sizes = photo.sizes
        return (sizes.height, sizes.width) if sizes.flip in (5, 6) else (sizes.width, sizes.height)


def decode(file: BinaryIO, name: str) -> DecodedImage:
    """Develop a photograph: white balance of the camera, sRGB, 16 bits, brightness by the 1 % brightest pixels.

    Raises:
        SrganError: the decoder is not installed, or memory does not suffice.
        ValueError: LibRaw cannot read the file.
    """
    check_memory(read_size(file, name), name)
    with _opened(file, name) as photo:
        flip = photo.sizes.flip
        module = optional.load(optional.RAW, name)
        pixels = photo.postprocess(use_camera_wb=True, output_bps=16, output_color=module.ColorSpace.sRGB, gamma=SRGB_CURVE)
        tags = _tags(file, photo)
    return DecodedImage(name, pixels, exif=_kept(tags), orientation=ORIENTATIONS.get(flip, 1), xmp=_xmp(tags))


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Any]:
    """Open a file with LibRaw, whose errors are ValueErrors."""
    module = optional.load(optional.RAW, name)
    file.seek(0)
    try:
        with module.imread(file) as photo:
            yield photo
    except module.LibRawError as error:
        raise ValueError(f"LibRaw cannot read it ({error.args[0].decode() if isinstance(error.args[0], bytes) else error})") from error


def _tags(file: BinaryIO, photo: Any) -> Image.Exif:
    """Return the tags of the file, which has the structure of a TIFF, or else those of its preview."""
    found = Image.Exif()
    with suppress(Exception):  # Pillow raises many kinds for damaged values. The pixels are good
        file.seek(0)
        content = file.read()
        if content[:2] in (b"II", b"MM"):
            magic = b"*\0" if content[:2] == b"II" else b"\0*"  # Olympus and Panasonic have magic numbers of their own
            found.load(b"Exif\0\0" + content[:2] + magic + content[4:])
        else:
            found = Image.open(io.BytesIO(photo.extract_thumb().data)).getexif()
    return found


def _kept(tags: Image.Exif) -> Image.Exif:
    kept = Image.Exif()
    with suppress(Exception):
        kept.endian = tags.endian
        for tag in KEPT:
            if tag in tags:
                kept[tag] = tags[tag]
        for part in (EXIF_IFD, GPS_IFD):
            if inside := tags.get_ifd(part):
                kept.get_ifd(part).update(inside)
    return kept


def _xmp(tags: Image.Exif) -> bytes | None:
    """Return the packet without the settings of a raw converter."""
    stored = tags.get(XMP_TAG)
    if not isinstance(stored, bytes | tuple):
        return None
    try:
        packet = Packet(bytes(stored))
    except ValueError:
        return bytes(stored)  # the writer reports the damage
    packet.remove(lambda address, name: address == DEVELOPMENT)
    return packet.tobytes()
