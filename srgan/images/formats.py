"""Check image files before they are decoded: formats, headers and memory."""

import itertools
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image

from srgan.images import heif, jxl, optional
from srgan.images.colours import avif_size
from srgan.utils.errors import SrganError
from srgan.utils.machine import available_memory

# Pillow's other decoders are excluded for security. EPS, for example, starts Ghostscript.
FORMATS_READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000")
NAMES = "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, HEIC or JPEG XL"  # for messages

# Tags of a TIFF file (TIFF 6.0, TIFF/EP, DNG 1.7).
REDUCED, OLD_KIND, BITS, MEANING, SAMPLES, PLANES, EXTRA, SAMPLE_FORMAT, DNG_VERSION = 254, 255, 258, 262, 277, 284, 338, 339, 50706
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, CFA, LINEAR_RAW = 0, 1, 2, 5, 32803, 34892
AVIF_LIMIT = 16384 * 16384  # pixels that libavif decodes
DECODER_BYTES_PER_PIXEL = 28  # largest memory for decoding, which includes the filling of transparent pixels

RAW_SIGNATURES = (  # offset and signature of camera raw that is no TIFF
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIU\0"),  # Panasonic
    (0, b"IIRO"),  # Olympus
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"FOVb"),  # Sigma
    (4, b"ftypcrx "),  # Canon
)
# Formats that are not read: offset of the signature, signature, name.
_SIGNATURES = (
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"\0\0\1\0", "Windows icon"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    *((0, b"P%d" % kind, "PNM") for kind in range(1, 8)),
)
_VIDEO = ("isom", "iso2", "mp41", "mp42", "M4V ", "qt  ", "avc1")  # brands of ISO base media files


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of the formats that are read, in lower case. Pillow knows rare ones such as ``.jfif``."""
    Image.init()
    own = {suffix for suffix, name in Image.EXTENSION.items() if name in (*FORMATS_READ, "MPO")}  # MPO: several JPEG in one
    return tuple(sorted(own.union(*(extra.suffixes for extra in optional.EXTRAS))))


def open_header(file: BinaryIO, name: str) -> Image.Image:
    """Open an image file with Pillow. Only the pixels of a JPEG XL file are decoded here, if they fit into the memory.

    Raises:
        SrganError: the format is not read, the decoder is not installed, or the image needs more memory than is free.
    """
    file.seek(0)
    head = file.read(32)
    if jxl.is_jxl(head):
        check_memory(jxl.read_size(file)[:2], name)
        return jxl.open_image(file, name)
    file.seek(0)
    try:
        return Image.open(file, formats=FORMATS_READ)
    except Image.UnidentifiedImageError:
        refuse_by_name(file, name)
        if not heif.is_heif(head):
            raise
    optional.load(optional.HEIF, name)
    file.seek(0)
    return Image.open(file, formats=["HEIF"])


def unread_format(head: bytes) -> str | None:
    """Return the name of a known format that is not read, by the first 32 bytes of a file. It is None for all others."""
    for place, signature, name in _SIGNATURES:
        if head[place:].startswith(signature):
            return name
    brand = head[8:12].decode("latin-1")
    return "video (MP4, QuickTime)" if head[4:8] == b"ftyp" and brand in _VIDEO else None


def refuse_by_name(file: BinaryIO, name: str) -> None:
    """Raise an error that names the format of a file, if it is known."""
    file.seek(0)
    if kind := unread_format(file.read(32)):
        raise SrganError(f"{name}: the format {kind} is not read. Convert the file to {NAMES}, or remove it")
    file.seek(4)
    if file.read(8) in (b"ftypavif", b"ftypavis") and (size := avif_size(file)) and size[0] * size[1] > AVIF_LIMIT:
        raise SrganError(f"{name}: {size[0]}x{size[1]} pixels. The AVIF decoder allows {AVIF_LIMIT:,} pixels. Convert it to PNG or TIFF")


def check_memory(size: tuple[int, int], name: str) -> None:
    """Raise an error if an image of this width and height needs more memory than is free."""
    needed, free = size[0] * size[1] * DECODER_BYTES_PER_PIXEL, available_memory()
    if needed > free:
        raise SrganError(
            f"{name}: {size[0]}x{size[1]} pixels need up to {needed / 1e9:.1f} GB of memory to decode, {free / 1e9:.1f} GB are free. "
            "Free some memory, or cut the image into parts"
        )


def pages_of(image: Image.Image) -> tuple[int, ...]:
    """Return the numbers of the full-size pages of a TIFF file: not of reduced-size pages, nor of pages after a damaged one.

    Other files have the page 0.
    """
    pages = [0]
    if image.format == "TIFF":
        try:
            for page in itertools.count(1):
                image.seek(page)
                if not tags_of(image).get(REDUCED, 0) & 1:
                    pages.append(page)
        except Exception:  # EOFError at the end, any other kind in a damaged page. The first page is good.
            image.seek(0)
    return tuple(pages)


def tags_of(image: Image.Image) -> dict[int, Any]:
    """Return the tags of a TIFF file."""
    return image.tag_v2  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Stored:
    """The storage of pixels according to the header of a file. Decoders report it differently.

    Attributes:
        deep: whether a channel has more than 8 bits.
        bits: bits of the deepest channel.
        grey: whether there is one colour channel.
        planes: whether a TIFF stores the channels separately. Only `tifffile` reads more than 8 bits then.
    """

    deep: bool
    bits: int
    grey: bool
    planes: bool = False


def read_header(image: Image.Image, file: BinaryIO) -> Stored:
    """Read the storage of pixels from the header or the tags of the file.

    Raises:
        ValueError: the file holds no image that can be read correctly.
    """
    if image.format == "PNG":
        place = file.seek(0, 1)  # Pillow continues from there
        file.seek(0)
        head = file.read(26)
        file.seek(place)
        return Stored(head[24] == 16, head[24], head[25] in (0, 4))  # IHDR: depth, colour type
    if image.format == "HEIF":
        bits = image.info.get("bit_depth", 8)
        return Stored(bits > 8, bits, image.mode in ("L", "I;16"))
    if image.format != "TIFF":
        return Stored(image.mode.startswith("I;16"), 16 if image.mode.startswith("I;16") else 8, image.mode in ("1", "L", "LA", "I;16"))
    tags = tags_of(image)
    meaning = tags.get(MEANING)
    if tags.get(REDUCED, 0) & 1 or tags.get(OLD_KIND) == 2:
        raise ValueError("its first page is a reduced-size copy of another (a preview, as in camera raw files). Save the image itself")
    bits, formats = max(tags.get(BITS, (1,))), set(tags.get(SAMPLE_FORMAT, (1,)))
    if bits >= 8 and not formats <= {1, 4}:  # 4: not defined
        raise ValueError(f"pixels of {bits} bits that are signed or floating-point numbers have no defined range")
    planes = tags.get(PLANES) == 2 and tags.get(SAMPLES, 1) > 1
    if planes and (meaning, bits) not in ((RGB, 8), (RGB, 16), (BLACK_IS_ZERO, 8), (CMYK, 8)):
        raise ValueError(f"a TIFF with separate channels of {bits} bits and photometric interpretation {meaning}, is not supported")
    return Stored(bits > 8, bits, meaning in (WHITE_IS_ZERO, BLACK_IS_ZERO), planes)
