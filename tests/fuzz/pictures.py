"""Image files, through what reads training images and through the enlargement of a photograph."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from srgan.images.read import open_image, read_image
from srgan.images.write import Options
from srgan.inference import batch
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, Target
from tests.helpers.project import write_model

WIDTH, HEIGHT = 44, 30
MOST_PIXELS = 1 << 20  # more are refused by Pillow: to enlarge them would take its time
SCALE = 2
RESULTS = (".png",) * 6 + (".jpg",) * 4 + (".tif",) * 4 + (".webp",) * 3 + (".avif",)
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" dc:source="a negative" tiff:Orientation="6"'
    b' xmpNote:HasExtendedXMP="0123456789ABCDEF"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def _pixels() -> np.ndarray:
    """A smooth picture with some noise, `(HEIGHT, WIDTH, 3)` uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth.astype(int) + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    details = {0x9003: "2020:01:01 00:00:00", 0x829A: 0.01, 0xA002: WIDTH, 0xA003: HEIGHT, 0x927C: b"maker notes" * 4}
    exif.get_ifd(0x8769).update(details)
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return exif


def _text() -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "plain")
    text.add_text("parameters", "a prompt, " * 8, zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    text.add_itxt("Title", "Grüße", lang="de", zip=True)
    return text


def _iptc() -> bytes:
    """An APP13 segment with one record of IPTC."""
    record = b"\x1c\x02\x78\x00\x05Title"
    return b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record


class Pictures(Target):
    """Two dozen kinds of image files."""

    name = "pictures"
    count = 20_000
    seconds = 10.0

    def build(self, folder: Path) -> None:
        (folder / "model").mkdir()
        write_model(folder / "model", SCALE)
        pixels, srgb = _pixels(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        image, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 1])
        alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
        alpha[8:20, 10:30] = 200
        clear = Image.fromarray(np.dstack([pixels, alpha]))
        deep = pixels.astype(np.uint16) * 257
        indexed = image.quantize(16)
        frames = {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
        kept = {"exif": _exif(), "icc_profile": srgb}
        known = {**kept, "xmp": XMP, "dpi": (300, 300)}

        camera = io.BytesIO()
        image.save(camera, "JPEG", quality=90, comment=b"a comment", **known)
        parts, rest = mutations.jpeg_segments(camera.getvalue())
        (folder / "camera.jpg").write_bytes(mutations.jpeg_of([*parts, (b"\xff\xed", _iptc())], rest))
        image.save(folder / "progressive.jpg", progressive=True, quality=80)
        grey.save(folder / "grey.jpg", dpi=(72, 72))
        image.convert("CMYK").save(folder / "cmyk.jpg")
        image.save(folder / "frames.mpo", format="MPO", **frames)

        image.save(folder / "rgb.png", pnginfo=_text(), dpi=(300, 300), **kept)
        grey.save(folder / "grey.png", transparency=128)
        image.convert("1").save(folder / "bits.png")
        indexed.save(folder / "palette.png", transparency=3)
        clear.save(folder / "alpha.png", pnginfo=_text())
        clear.convert("LA").save(folder / "grey-alpha.png")
        cv2.imwrite(str(folder / "deep.png"), deep)
        cv2.imwrite(str(folder / "deep-grey.png"), deep[..., 0])
        two_bits = [(k, c[:8] + b"\x02" + c[9:]) if k == b"IHDR" else (k, c) for k, c in mutations.png_chunks(_grey_png(2))]
        (folder / "two-bits.png").write_bytes(mutations.png_of([*two_bits[:1], (b"tRNS", b"\0\1"), *two_bits[1:]]))

        image.save(folder / "lossy.webp", xmp=XMP, **kept)
        clear.save(folder / "alpha.webp", lossless=True)
        image.save(folder / "frames.webp", **frames)

        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x010F], tags[0x0112], tags[700] = "Maker", 6, XMP
        tags[0x8769] = dict(_exif().get_ifd(0x8769))
        image.save(folder / "camera.tif", tiffinfo=tags, icc_profile=srgb, dpi=(300, 300))
        image.save(folder / "jpeg.tif", compression="jpeg")
        Image.fromarray(pixels).save(folder / "frames.tif", save_all=True, append_images=[Image.fromarray(pixels[::-1])])
        image.save(folder / "big.tif", big_tiff=True)
        image.convert("1").save(folder / "fax.tif", compression="group4")
        clear.save(folder / "alpha.tif", compression="tiff_lzw")
        plain = {"photometric": "rgb", "metadata": None}
        tifffile.imwrite(folder / "tiled.tif", pixels, tile=(16, 16), compression="zlib", **plain)
        tifffile.imwrite(folder / "planar.tif", pixels.transpose(2, 0, 1), planarconfig="separate", **plain)
        tifffile.imwrite(folder / "deep.tif", deep, rowsperstrip=8, **plain)
        tifffile.imwrite(folder / "deep-planar.tif", deep.transpose(2, 0, 1), planarconfig="separate", byteorder=">", **plain)
        tifffile.imwrite(folder / "float.tif", pixels[..., 0].astype(np.float32), metadata=None)

        image.save(folder / "rgb.bmp", dpi=(300, 300))
        indexed.save(folder / "palette.bmp")
        indexed.save(folder / "palette.gif", transparency=3)
        indexed.save(folder / "frames.gif", save_all=True, append_images=[indexed.rotate(180)], duration=100)
        image.save(folder / "rgb.avif", xmp=XMP, quality=60, **kept)
        clear.save(folder / "alpha.avif", quality=60)

    def fixed(self) -> dict[str, Callable[[], bytes]]:
        return FIXED

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = list(seeds)[rng.integers(len(seeds))]
        content, suffix = seeds[name], Path(name).suffix
        others = [other for key, other in seeds.items() if Path(key).suffix == suffix]
        if rng.integers(2) and suffix in EDITS:
            content = EDITS[suffix](rng, content)
            if rng.integers(3):
                return Case(name, content)
        return Case(name, mutations.mutated(rng, content, others))

    def setup(self, shared: Path) -> None:
        self.upscaler = Upscaler(next((shared / "model").iterdir()), "cpu", threads=1)
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many
        (shared / "good.png").write_bytes(_grey_png(8))
        self.good = shared / "good.png"

    def check(self, case: Case, folder: Path) -> None:
        source = folder / case.name
        source.write_bytes(case.content)
        drawn = zlib.crc32(case.content)
        result = folder / f"result{RESULTS[drawn % len(RESULTS)]}"
        refused: list[SrganError] = []
        try:
            pixels = read_image(source)
            assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.size
        except SrganError as error:
            refused.append(error)
        try:
            options = Options(outscale=1.5 if drawn % 16 == 0 else None, lossless=drawn % 7 == 0, provenance=drawn % 5 > 0)
            size = upscale_file(self.upscaler, source, result, options)
        except SrganError as error:
            assert not result.exists(), f"refused, but {result.name} was written"
            refused.append(error)
        else:
            assert _opened(result).shape[1::-1] == size
        if drawn % 50 == 0:
            self._folder_run(source, folder)
        if refused:
            raise refused[0]

    def _folder_run(self, source: Path, folder: Path) -> None:
        """A bad file stops nothing: the good one beside it is enlarged."""
        photographs = folder / "photographs"
        photographs.mkdir()
        source.rename(photographs / source.name)
        (photographs / "zebra.png").write_bytes(self.good.read_bytes())
        jobs = batch.plan([str(photographs)], str(folder / "large"))
        batch.run(self.upscaler, jobs, Options())
        assert (folder / "large" / "zebra.png").is_file()


def _opened(result: Path) -> np.ndarray:
    """The pixels of a result, which may be more than those of a photograph."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return open_image(result).pixels
    except SrganError as error:
        raise AssertionError(f"the result cannot be read: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


EDITS: dict[str, mutations.Edit] = {
    ".png": mutations.edit_png,
    ".jpg": mutations.edit_jpeg,
    ".mpo": mutations.edit_jpeg,
    ".webp": mutations.edit_webp,
    ".avif": mutations.edit_boxes,
    ".tif": mutations.edit_tiff,
    ".bmp": mutations.edit_bmp,
}


# -- made by hand ----------------------------------------------------------------------------------------------------------


def _grey_png(bits: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Black, with `bits` for each pixel; small, however many pixels it has."""
    row = b"\0" + bytes((width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row * min(256, height - top)) for top in range(0, height, 256)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return mutations.png_of([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def _with_chunk(kind: bytes, content: bytes) -> bytes:
    header, *rest = mutations.png_chunks(_grey_png(8))
    return mutations.png_of([header, (kind, content), *rest])


def _raw_profile(text: bytes) -> Callable[[], bytes]:
    return lambda: _with_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text))


def _with_xmp(packet: bytes) -> bytes:
    return _with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def _jpeg_with_xmp(packet: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels()).save(buffer, "JPEG")
    parts, rest = mutations.jpeg_segments(buffer.getvalue())
    return mutations.jpeg_of([(b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0" + packet), *parts], rest)


def _tiff_with_xmp(packet: bytes) -> bytes:
    buffer, tags = io.BytesIO(), TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = packet
    Image.fromarray(_pixels()).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


def _entities() -> bytes:
    """36,000 entities, each made of the one before: the parser of C calls itself for each."""
    names = "".join(f'<!ENTITY e{number} "&e{number - 1};">' for number in range(1, 36_000))
    return f'<!DOCTYPE x [<!ENTITY e0 "x">{names}]>{_rdf("&e35999;")}'.encode()


def _laughs() -> bytes:
    names = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10))
    return f'<!DOCTYPE x [<!ENTITY l0 "lol">{names}]>{_rdf("&l9;")}'.encode()


def _rdf(inside: str) -> str:
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return f'<rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about="">{inside}</rdf:Description></rdf:RDF>'


def _nested(depth: int) -> bytes:
    return _rdf("<a>" * depth + "</a>" * depth).encode()


def _namespaces(count: int) -> bytes:
    return _rdf("".join(f'<p{n}:a xmlns:p{n}="http://example.org/{n}"/>' for n in range(count))).encode()


def _looping_tiff() -> bytes:
    """Its directory names itself as the next one, and as its Exif directory."""
    buffer = io.BytesIO()
    Image.fromarray(_pixels()).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    struct.pack_into("<HHII", data, start + 2 + 12 * (count - 1), 0x8769, 4, 1, start)
    return bytes(data)


def _eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"


FIXED: dict[str, Callable[[], bytes]] = {
    "profile-of-blanks.png": _raw_profile(b" x 1 " + b" " * 1_000_000 + b"!"),
    "profile-of-digits.png": _raw_profile(b"\nxmp\n" + b"1" * 500_000 + b" \n"),
    "profile-of-lines.png": _raw_profile(b"\n" * 500_000 + b"xmp"),
    "note-of-blanks.png": lambda: _with_xmp(_rdf(" " * 1_000_000).encode()),
    "note-of-blanks.jpg": lambda: _jpeg_with_xmp(_rdf(" " * 60_000).encode()),
    "note-of-blanks.tif": lambda: _tiff_with_xmp(_rdf(" " * 4_000_000).encode()),
    "tags-of-blanks.png": lambda: _with_xmp(_rdf("<" + "a" * 500_000).encode()),
    "entities.png": lambda: _with_xmp(_entities()),
    "entities-compressed.png": lambda: _with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(_entities())),
    "entities.tif": lambda: _tiff_with_xmp(_entities()),
    "laughs.png": lambda: _with_xmp(_laughs()),
    "external-entity.png": lambda: _with_xmp(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + _rdf("&e;").encode()),
    "nested-2000.png": lambda: _with_xmp(_nested(2_000)),
    "nested-100000.png": lambda: _with_xmp(_nested(100_000)),
    "nested-100000.tif": lambda: _tiff_with_xmp(_nested(100_000)),
    "namespaces.png": lambda: _with_xmp(_namespaces(10_000)),
    "attributes.png": lambda: _with_xmp(_rdf("<a " + " ".join(f'b{n}="1"' for n in range(50_000)) + "/>").encode()),
    "utf-16.png": lambda: _with_xmp(_rdf("").encode("utf-16")),
    "text-bomb.png": lambda: _with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(300_000_000))),
    "profile-bomb.png": lambda: _with_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(300_000_000))),
    "pixel-bomb.png": lambda: _grey_png(1, 60_000, 60_000),
    "line.png": lambda: _grey_png(8, 1, 20_000),
    "one-pixel.png": lambda: _grey_png(8, 1, 1),
    "looping-directory.tif": _looping_tiff,
    "postscript.png": _eps,
    "postscript.jpg": _eps,
    "empty.png": lambda: b"",
    "empty.avif": lambda: b"",
    "zeros.tif": lambda: bytes(100_000),
}
