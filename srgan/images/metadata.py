"""The metadata of a photograph for the file of its upscaled copy.

libvips, which writes the pixels, would write EXIF as well, but leaves out tags that it does not know, and XMP of PNG files in a way of
its own. So the metadata are collected here, and `srgan.images.embedding` writes them.

===========================  =======================================================================================
EXIF                         kept, with the sizes, positions and the orientation of the result (`srgan.images.exif`)
MakerNote                    kept in JPEG, PNG and WebP: its pointers would be wrong in TIFF and AVIF, and from TIFF
XMP                          kept, with the sizes, positions and the orientation of the result; without properties of
                             data that the result lacks: gain map, motion photo, extended XMP (`srgan.images.xmp`)
IPTC, Photoshop's resources  kept in JPEG and TIFF, without thumbnails, layers, guides and slices
JPEG comments                kept in JPEG
PNG text                     kept in PNG
ICC profile                  kept, cut to the length in its header; a damaged one is left out
C2PA, unknown blocks         left out (`srgan.images.attachments`)
===========================  =======================================================================================

One warning a file names what is left out.
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
from srgan.images.geometry import Geometry
from srgan.images.provenance import add_provenance
from srgan.images.read import EXIF_IFD, GPS_IFD, DecodedImage
from srgan.images.xmp import Packet, adjust

SEGMENT = 65533  # bytes that a segment of a JPEG holds
EXIF_HEADER, XMP_HEADER = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
LISTED = 8  # names in a warning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metadata:
    """What goes into the new file beside its pixels.

    Attributes:
        exif: the block, beginning with its byte order; empty if there is none.
        tags: the same for TIFF files, whose directory holds it; empty for the others where the block is the photograph's own.
        xmp: the packet; empty if there is none.
        icc_profile: of the pixels.
        dpi: pixels an inch.
        attached: IPTC, comments and the like, as far as the format holds them.
    """

    exif: bytes
    tags: Image.Exif
    xmp: bytes
    icc_profile: bytes | None
    dpi: tuple[float, float]
    attached: Attachments = field(default_factory=Attachments)


def collect(
    picture: DecodedImage, source: str | Path | BinaryIO, size: tuple[int, int], file_format: str, model: dict[str, str] | None, digest: str
) -> Metadata:
    """The metadata of an upscaled picture. A warning names what is left out.

    Args:
        picture: the input.
        source: its file.
        size: width and height of the result.
        file_format: its format.
        model: the model's `sr.*` entries, which the XMP is to name; None to leave them out.
        digest: SHA-256 of the model's file.
    """
    height, width = picture.pixels.shape[:2]
    geometry = Geometry(picture.orientation, (height, width) if picture.orientation > 4 else (width, height), size)
    lost: list[str] = []
    block, tags = _exif(picture, geometry, file_format, lost)
    xmp = _xmp(picture, geometry, file_format, model, digest, lost)
    attached = _attached(picture, source, file_format, lost)
    profile = _profile(picture.icc_profile, lost)
    if lost := list(dict.fromkeys(lost)):
        rest = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
        log.warning("%s: not in the result: %s%s", picture.name, "; ".join(lost[:LISTED]), rest)
    # Formats that must name a resolution get what viewers assume, and so do damaged ones.
    dpi = picture.dpi if picture.dpi and max(picture.dpi) < 1e6 else (72.0, 72.0)
    return Metadata(block, tags, xmp, profile, dpi, attached)


def _exif(picture: DecodedImage, geometry: Geometry, file_format: str, lost: list[str]) -> tuple[bytes, Image.Exif]:
    """The block, and the tags for TIFF."""
    try:
        if picture.exif_damage:
            raise ValueError(picture.exif_damage)
        # AVIF's writer moves the values of the block, so that a maker note would point elsewhere.
        if picture.exif_block and file_format not in ("tiff", "avif"):
            tags, filled = Image.Exif(), len(picture.exif)
            block, dropped = exif.patched(picture.exif_block, geometry)
        else:
            tags, dropped = exif.tags(picture, geometry)
            block, filled = tags.tobytes().removeprefix(EXIF_HEADER), len(tags) or tags.get_ifd(EXIF_IFD) or tags.get_ifd(GPS_IFD)
    except Exception as error:  # values of types, or at places, that nobody expects
        lost.append(f"the EXIF, which is damaged ({error})")
        return b"", Image.Exif()
    lost += dropped
    if not filled:
        return b"", tags
    if file_format == "jpeg" and len(EXIF_HEADER) + len(block) > SEGMENT:
        lost.append(f"the EXIF: its {len(block):,} bytes are more than a JPEG holds")
        block = b""
    return block, tags


def _xmp(picture: DecodedImage, geometry: Geometry, file_format: str, model: dict[str, str] | None, digest: str, lost: list[str]) -> bytes:
    def written(packet: Packet, former: bytes = b"") -> bytes:
        if model is not None:
            add_provenance(packet, model, digest, former)
        return packet.tobytes()

    xmp, left_out = written(Packet()) if model is not None else b"", None
    if picture.xmp:
        try:
            packet = Packet(picture.xmp)
            lost += adjust(packet, geometry, f"image/{file_format}")
            kept = written(packet)
        except ValueError as error:
            left_out = f"the XMP, which is damaged ({error})"
        else:
            if file_format == "jpeg" and len(XMP_HEADER) + len(kept) > SEGMENT:
                left_out = f"the XMP: its {len(picture.xmp):,} bytes are more than a JPEG holds"
            else:
                xmp = kept
        if left_out:
            lost.append(left_out)
            xmp = written(Packet(), picture.xmp) if model is not None else b""
    return xmp


def _attached(picture: DecodedImage, source: str | Path | BinaryIO, file_format: str, lost: list[str]) -> Attachments:
    """What the format holds of it."""
    try:
        found = read_attachments(source, upright=picture.orientation == 1)
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
        kept.comments = [comment for comment in found.comments if len(comment) <= SEGMENT]
    lost += ["the comment"] * (len(found.comments) > len(kept.comments))
    if file_format == "png":
        kept.texts = found.texts
    else:
        lost += [f"PNG text '{text_name(content)}'" for _, content in found.texts]
    return kept


def _profile(profile: bytes | None, lost: list[str]) -> bytes | None:
    """The ICC profile, as long as its header states, in multiples of four bytes (ICC.1:2022, 7.2.2 and 7.3)."""
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
        lost.append(f"the ICC profile, which is damaged ({reason}); the colours are taken for sRGB")
        return None
    if length % 4:  # PNG's library refuses it
        return struct.pack(">I", length + -length % 4) + profile[4:length] + bytes(-length % 4)
    return profile[:length]
