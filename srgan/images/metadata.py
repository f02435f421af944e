"""Collect the metadata of an image for its upscaled copy.

libvips writes the pixels. It could write metadata too, but it drops unknown EXIF tags and writes the XMP of PNG files in a way of its own.
The metadata is therefore collected here and written by `srgan.images.embedding`.

===========================  =======================================================================================
EXIF                         kept with sizes, positions and orientation of the result (`srgan.images.exif`)
MakerNote                    kept in JPEG, PNG and WebP. Its pointers are invalid in TIFF and AVIF, and from TIFF
XMP                          kept with sizes, positions and orientation of the result (`srgan.images.xmp`).
                             Motion photo and extended XMP are removed
gain map of Ultra HDR        kept in JPEG (`srgan.images.gain_map`)
IPTC, Photoshop's resources  kept in JPEG and TIFF, without thumbnails, layers, guides and slices
JPEG comments                kept in JPEG
PNG text                     kept in PNG
ICC profile                  kept, cut to the length in its header. A damaged profile is left out
C2PA, unknown blocks         left out (`srgan.images.attachments`)
===========================  =======================================================================================

One warning for each file names what is left out.
"""

import io
import logging
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageCms

from srgan.images import exif
from srgan.images.attachments import Attachments, read_attachments, text_name
from srgan.images.gain_map import GainMap
from srgan.images.geometry import Geometry
from srgan.images.provenance import MadeBy, add_provenance
from srgan.images.read import EXIF_IFD, GPS_IFD, DecodedImage
from srgan.images.xmp import Packet, adjust

MAX_SEGMENT_BYTES = 65533  # of a JPEG
EXIF_HEADER, XMP_HEADER = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
MAX_NAMES = 8  # in a warning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metadata:
    """Metadata of the new file.

    Attributes:
        exif: the block from its byte order on. It is empty if there is none.
        tags: the same for TIFF files. It is empty for other formats if the input's block is kept.
        xmp: the packet. It is empty if there is none.
        icc_profile: profile of the pixels.
        dpi: pixels per inch, horizontal and vertical.
        attached: IPTC, comments and text that the format can hold.
        gain_map: of a JPEG.
    """

    exif: bytes
    tags: Image.Exif
    xmp: bytes
    icc_profile: bytes | None
    dpi: tuple[float, float]
    attached: Attachments = field(default_factory=Attachments)
    gain_map: GainMap | None = None


def collect(
    image: DecodedImage, source: str | Path | BinaryIO, size: tuple[int, int], file_format: str, made_by: MadeBy | None
) -> Metadata:
    """Return the metadata of an upscaled image. A warning names what is left out.

    Args:
        image: the decoded input.
        source: the file of the input.
        size: width and height of the result.
        file_format: format of the result.
        made_by: model and settings for the XMP. None omits them.
    """
    height, width = image.pixels.shape[:2]
    geometry = Geometry(image.orientation, (height, width) if image.orientation > 4 else (width, height), size)
    lost = list(image.lost)
    gain_map = image.gain_map if file_format == "jpeg" else None
    if image.gain_map and not gain_map:
        lost.append("the gain map, which only a JPEG holds")
    block, tags = _exif(image, geometry, file_format, lost)
    xmp = _xmp(image, geometry, file_format, made_by, lost)
    attached = _attached(image, source, file_format, lost)
    profile = _profile(image.icc_profile, lost)
    if lost := list(dict.fromkeys(lost)):
        rest = f" and {len(lost) - MAX_NAMES} more" if len(lost) > MAX_NAMES else ""
        log.warning("%s: not in the result: %s%s", image.name, "; ".join(lost[:MAX_NAMES]), rest)
    # 72 is what viewers assume if the resolution is missing or invalid.
    dpi = image.dpi if image.dpi and max(image.dpi) < 1e6 else (72.0, 72.0)
    return Metadata(block, tags, xmp, profile, dpi, attached, gain_map)


def _exif(image: DecodedImage, geometry: Geometry, file_format: str, lost: list[str]) -> tuple[bytes, Image.Exif]:
    """Return the block, and the tags for TIFF."""
    try:
        if image.exif_damage:
            raise ValueError(image.exif_damage)
        # AVIF's writer moves the values of the block, which breaks the pointers of a maker note.
        if image.exif_block and file_format not in ("tiff", "avif"):
            tags, filled = Image.Exif(), len(image.exif)
            block, dropped = exif.patched(image.exif_block, geometry)
        else:
            tags, dropped = exif.tags(image, geometry)
            block = tags.tobytes().removeprefix(EXIF_HEADER)
            filled = len(tags) or len(tags.get_ifd(EXIF_IFD)) or len(tags.get_ifd(GPS_IFD))
    except Exception as error:  # unexpected types and positions of values
        lost.append(f"the EXIF, which is damaged ({error})")
        return b"", Image.Exif()
    lost += dropped
    if not filled:
        return b"", tags
    if file_format == "jpeg" and len(EXIF_HEADER) + len(block) > MAX_SEGMENT_BYTES:
        lost.append(f"the EXIF: its {len(block):,} bytes are more than a JPEG holds")
        block = b""
    return block, tags


def _xmp(image: DecodedImage, geometry: Geometry, file_format: str, made_by: MadeBy | None, lost: list[str]) -> bytes:
    gain_map = image.gain_map if file_format == "jpeg" else None

    def written(packet: Packet, former: bytes = b"") -> bytes:
        if made_by:
            add_provenance(packet, made_by, former)
        if gain_map:
            gain_map.describe(packet)
        return packet.tobytes()

    needed = made_by or (gain_map and gain_map.follows_adobe)
    xmp, left_out = written(Packet()) if needed else b"", None
    if image.xmp:
        try:
            packet = Packet(image.xmp)
            lost += adjust(packet, geometry, f"image/{file_format}", image.gain_map is not None)
            kept = written(packet)
        except ValueError as error:
            left_out = f"the XMP, which is damaged ({error})"
        else:
            if file_format == "jpeg" and len(XMP_HEADER) + len(kept) > MAX_SEGMENT_BYTES:
                left_out = f"the XMP: its {len(image.xmp):,} bytes are more than a JPEG holds"
            else:
                xmp = kept
        if left_out:
            lost.append(left_out)
            xmp = written(Packet(), image.xmp) if needed else b""
    return xmp


def _attached(image: DecodedImage, source: str | Path | BinaryIO, file_format: str, lost: list[str]) -> Attachments:
    """Return the attachments that the format can hold."""
    try:
        found = read_attachments(source, upright=image.orientation == 1, read=image.gain_map.length if image.gain_map else 0)
    except (OSError, struct.error, IndexError, OverflowError, ValueError) as error:
        lost.append(f"IPTC, comments and text, if any: the file is damaged ({error})")
        return Attachments()
    lost += found.lost
    kept = Attachments()
    if file_format in ("jpeg", "tiff"):
        kept.iptc, kept.resources = found.iptc, found.resources
    else:
        lost += ["the IPTC"] * bool(found.iptc) + ["Photoshop's resources"] * bool(found.resources)
    if file_format == "jpeg":
        kept.comments = [comment for comment in found.comments if len(comment) <= MAX_SEGMENT_BYTES]
    lost += ["the comment"] * (len(found.comments) > len(kept.comments))
    if file_format == "png":
        kept.texts = found.texts
    else:
        lost += [f"PNG text '{text_name(content)}'" for _, content in found.texts]
    return kept


def _profile(profile: bytes | None, lost: list[str]) -> bytes | None:
    """Return the ICC profile with the length of its header, in multiples of four bytes (ICC.1:2022, 7.2.2 and 7.3)."""
    if not profile:
        return None
    length = int.from_bytes(profile[:4], "big")
    try:
        (tags,) = struct.unpack_from(">I", profile, 128)
        table = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(min(tags, 1000))]
        if length > len(profile) or any(offset + size > length for _, offset, size in table):
            raise ValueError("it ends too early")
        ImageCms.ImageCmsProfile(io.BytesIO(profile[:length]))
    except (struct.error, ValueError, OSError, TypeError) as error:
        reason = "it ends too early" if isinstance(error, struct.error) else error
        lost.append(f"the ICC profile, which is damaged ({reason}); the colours are read as sRGB")
        return None
    if length % 4:  # PNG's library refuses it
        return struct.pack(">I", length + -length % 4) + profile[4:length] + bytes(-length % 4)
    return profile[:length]
