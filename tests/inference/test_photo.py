"""Real files of every kind, upscaled and opened again."""

import io
import os
import struct

import cv2
import numpy as np
import pytest
import pyvips
import skimage.data
import tifffile
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from srgan.images.read import open_image
from srgan.images.suffixes import FORMATS
from srgan.images.write import Options
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError

CAT = skimage.data.chelsea()[100:160, 100:190]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = [".png", ".jpg", ".webp", ".tif", ".avif"]
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" dc:source="a negative" tiff:Orientation="6"/>'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def from_a_camera():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6  # the camera was held upright
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0x829A: 0.01, 0xA002: CAT.shape[1], 0xA003: CAT.shape[0]})
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return exif


def stored(path, image=CAT, **options):
    Image.fromarray(image).save(path, **options)
    return path


def deep_cat(path):
    cv2.imwrite(str(path), CAT[..., ::-1].astype(np.uint16) * 257)
    return path


def upscaled(upscaler, source, target, **options):
    upscale_file(upscaler, source, target, Options(**options))
    assert sorted(path.name for path in target.parent.glob(".*")) == []  # nothing is left lying
    return open_image(target)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("origin", [".jpg", ".tif", ".webp"])
def test_what_belongs_to_a_photograph_stays(upscaler, tmp_path, origin, suffix):
    source = tmp_path / f"in{origin}"
    if origin == ".tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x010F], tags[0x0112], tags[700] = "Maker", 6, XMP
        tags[0x8769] = dict(from_a_camera().get_ifd(0x8769))
        tags[0x8825] = dict(from_a_camera().get_ifd(0x8825))
        stored(source, icc_profile=SRGB, dpi=(300, 300), tiffinfo=tags)
    else:
        stored(source, icc_profile=SRGB, dpi=(300, 300), exif=from_a_camera(), xmp=XMP, quality=95)
    result = upscaled(upscaler, source, tmp_path / f"out{suffix}")
    height, width = CAT.shape[:2]
    assert result.pixels.shape == (2 * width, 2 * height, 3)  # turned once
    expected = upscaler.upscale(open_image(source).pixels)
    # WebP halves the colours' resolution, and random weights make coloured noise.
    assert np.abs(result.pixels.astype(int) - expected).mean() < (10 if suffix == ".webp" else 4)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.mode == "RGB"
    assert result.icc_profile == SRGB
    assert result.exif[0x010F] == "Maker"
    details = result.exif.get_ifd(0x8769)
    assert details[0x9003] == "2020:01:01 00:00:00"
    assert float(details[0x829A]) == pytest.approx(0.01)
    assert (details[0xA002], details[0xA003]) == (2 * height, 2 * width)
    assert tuple(map(float, result.exif.get_ifd(0x8825)[2])) == (52.0, 30.0, 1.5)
    assert b"a negative" in result.xmp
    assert b"compositeWithTrainedAlgorithmicMedia" in result.xmp
    assert b'Orientation="6"' not in result.xmp
    if suffix not in (".webp", ".avif") and origin != ".webp":  # these hold no resolution but that in the EXIF
        assert result.dpi == pytest.approx((300, 300), rel=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("grey", [False, True])
def test_transparency_is_enlarged_apart_and_without_fringes(upscaler, tmp_path, suffix, grey):
    alpha = np.zeros(CAT.shape[:2], np.uint8)
    alpha[20:40, 30:60] = 255
    hidden = np.where(alpha[..., None] > 0, CAT, (0, 255, 0)).astype(np.uint8)  # a green that nobody sees
    pixels = np.dstack([hidden[..., 0], alpha]) if grey else np.dstack([hidden, alpha])
    Image.fromarray(pixels, "LA" if grey else "RGBA").save(tmp_path / "in.png")
    result = upscaled(upscaler, tmp_path / "in.png", tmp_path / f"out{suffix}", lossless=suffix == ".webp")
    assert result.pixels.ndim == (2 if grey and suffix in (".png", ".tif") else 3)
    assert result.alpha[:30].max() <= 2  # AVIF does not hold it exactly
    assert result.alpha[44:76, 64:116].min() >= 253
    if not grey:
        seen = result.pixels[result.alpha > 8].astype(int)
        assert (seen[:, 1] - seen[:, 0]).max() < 60  # no green


def test_in_a_jpeg_transparency_is_white(upscaler, tmp_path):
    pixels = np.dstack([CAT, np.zeros(CAT.shape[:2], np.uint8)])
    result = upscaled(upscaler, stored(tmp_path / "in.png", pixels), tmp_path / "out.jpg")
    assert result.alpha is None
    assert result.pixels.min() >= 254


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_grey_stays_grey(upscaler, tmp_path, suffix):
    result = upscaled(upscaler, stored(tmp_path / "in.png", CAT[..., 0]), tmp_path / f"out{suffix}")
    if suffix in (".png", ".jpg", ".tif"):  # the others know no greyscale
        assert result.pixels.ndim == 2
    else:
        assert np.ptp(result.pixels.astype(int), axis=2).max() <= 1


def test_one_bit_becomes_greyscale_and_a_palette_its_colours(upscaler, tmp_path):
    Image.fromarray(CAT).convert("1").save(tmp_path / "bits.png")
    assert upscaled(upscaler, tmp_path / "bits.png", tmp_path / "a.png").pixels.ndim == 2
    indexed = Image.fromarray(CAT).quantize(16)
    indexed.save(tmp_path / "indexed.png")
    indexed.save(tmp_path / "indexed.gif")
    expected = upscaler.upscale(np.asarray(indexed.convert("RGB")))
    for name in ("indexed.png", "indexed.gif"):
        assert np.array_equal(upscaled(upscaler, tmp_path / name, tmp_path / "b.png").pixels, expected)


def test_cmyk_becomes_srgb(upscaler, tmp_path):
    Image.fromarray(CAT).convert("CMYK").save(tmp_path / "in.jpg", quality=98)
    result = upscaled(upscaler, tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert result.icc_profile is None
    reference = cv2.resize(CAT, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert np.abs(result.pixels.mean((0, 1)) - reference.mean((0, 1))).max() < 25


@pytest.mark.parametrize("origin", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba"])
def test_sixteen_bits_stay(upscaler, tmp_path, origin, kind):
    deep = cv2.GaussianBlur(CAT.astype(np.float32), (0, 0), 3) * 257  # between the levels of 8 bits
    pixels = {"grey": deep[..., 0], "rgb": deep, "rgba": np.dstack([deep, np.full(CAT.shape[:2], 65535)])}[kind].astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"in{origin}"), pixels)
    for suffix in (".png", ".tif"):
        result = upscaled(upscaler, tmp_path / f"in{origin}", tmp_path / f"out{suffix}")
        assert result.pixels.dtype == np.uint16
        assert len(np.unique(result.pixels % 257)) > 200
        assert (result.alpha is not None) == (kind == "rgba")
        assert np.array_equal(result.pixels, upscaler.upscale(open_image(tmp_path / f"in{origin}").pixels))
        if kind == "rgba":
            assert result.alpha.min() == 65535
    result = upscaled(upscaler, tmp_path / f"in{origin}", tmp_path / "out.jpg")
    assert result.pixels.dtype == np.uint8


def deep_tiff(path, extra, alpha):
    pixels = np.dstack([CAT.astype(np.uint16) * 257, np.full(CAT.shape[:2], alpha, np.uint16)])
    if extra == "assocalpha":
        pixels[..., :3] = pixels[..., :3].astype(np.uint32) * alpha // 65535
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[extra])
    return path


def test_the_fourth_channel_of_a_sixteen_bit_tiff_is_what_it_says(upscaler, tmp_path):
    for extra, alpha in (("unassalpha", 30000), ("assocalpha", 30000), ("unspecified", 0)):
        picture = open_image(deep_tiff(tmp_path / "in.tif", extra, alpha))
        assert np.abs(picture.pixels / 257 - CAT).max() < 0.02, extra
        assert picture.alpha is None if extra == "unspecified" else (picture.alpha == alpha).all()


def test_rarer_kinds_of_sixteen_bits(upscaler, tmp_path):
    grey = CAT[..., 0].astype(np.uint16)
    tifffile.imwrite(tmp_path / "cmyk.tif", np.dstack([65535 - CAT.astype(np.uint16) * 257, grey * 0]), photometric="separated")
    result = upscaled(upscaler, tmp_path / "cmyk.tif", tmp_path / "out.png")
    assert np.abs(result.pixels.mean((0, 1)) - upscaler.upscale(CAT).mean((0, 1))).max() < 2
    alpha = pyvips.Image.new_from_array(np.dstack([grey * 257, grey * 0 + 40000])).copy(interpretation="grey16")
    alpha.pngsave(str(tmp_path / "la.png"))
    for suffix in (".png", ".tif"):
        result = upscaled(upscaler, tmp_path / "la.png", tmp_path / f"la{suffix}-out{suffix}")
        assert result.pixels.dtype == np.uint16
        assert (result.alpha == 40000).all()
        assert result.pixels.ndim == (2 if suffix == ".png" else 3)
    Image.fromarray(grey * 257).save(tmp_path / "hidden.png", transparency=int(grey[0, 0]) * 257)
    assert upscaled(upscaler, tmp_path / "hidden.png", tmp_path / "hidden.tif").alpha.min() == 0


@pytest.mark.parametrize(
    "name", ["a [b] {c}? %d.png", "ü" * 100 + ".png", "x" * 250 + ".png", os.fsdecode(b"caf\xe9.png"), "two\nlines.png"]
)
def test_any_name_will_do(upscaler, tmp_path, name):
    target = tmp_path / "out" / name
    assert upscaled(upscaler, stored(tmp_path / "in.png"), target, outscale=1.5).pixels.shape == (90, 135, 3)
    assert [path.name for path in target.parent.iterdir()] == [name]


def test_white_paper_stays_white(upscaler, tmp_path):
    for suffix in SUFFIXES:
        result = upscaled(upscaler, stored(tmp_path / "in.png", np.full((40, 50, 3), 255, np.uint8)), tmp_path / f"out{suffix}")
        assert result.pixels.min() == 255, suffix


@pytest.mark.parametrize(("factor", "size"), [(2.5, (225, 150)), (1, (90, 60)), (0.5, (45, 30)), (5, (450, 300)), (1.37, (123, 82))])
def test_other_sizes_are_lanczos_of_the_models(upscaler, tmp_path, factor, size, monkeypatch):
    monkeypatch.setattr("srgan.images.write.ROWS_PER_STRIP", 13)
    result = upscaled(upscaler, stored(tmp_path / "in.png"), tmp_path / "out.png", outscale=factor)
    assert result.pixels.shape[1::-1] == size
    expected = Image.fromarray(upscaler.upscale(CAT)).resize(size, Image.Resampling.LANCZOS)
    assert np.abs(result.pixels.astype(int) - np.asarray(expected)).max() <= 2  # strips round otherwise
    deep = upscaled(upscaler, deep_cat(tmp_path / "deep.png"), tmp_path / "deep.tif", outscale=factor)
    assert deep.pixels.shape == (*size[::-1], 3)
    assert np.abs(deep.pixels / 257 - np.asarray(expected)).max() < 3


def test_quality_and_lossless_matter(upscaler, tmp_path):
    source, exact = stored(tmp_path / "in.png"), upscaler.upscale(CAT)
    for suffix in (".jpg", ".webp", ".avif"):
        good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
        upscaled(upscaler, source, good)
        upscaled(upscaler, source, bad, quality=20)
        assert bad.stat().st_size < good.stat().st_size / 2
    for suffix in (".webp", ".avif"):
        result = upscaled(upscaler, source, tmp_path / f"exact{suffix}", lossless=True)
        assert np.abs(result.pixels.astype(int) - exact).max() <= (0 if suffix == ".webp" else 3)


def test_provenance_can_be_left_out(upscaler, tmp_path):
    source = stored(tmp_path / "in.jpg", xmp=XMP)
    assert b"DigitalSourceType" not in upscaled(upscaler, source, tmp_path / "a.png", provenance=False).xmp
    assert upscaled(upscaler, stored(tmp_path / "in.png"), tmp_path / "b.png", provenance=False).xmp is None


def test_damaged_xmp_is_told_and_replaced(upscaler, tmp_path, caplog):
    result = upscaled(upscaler, stored(tmp_path / "in.jpg", xmp=b"<x:xmpmeta"), tmp_path / "out.jpg")
    assert b"DigitalSourceType" in result.xmp
    assert "not in the result: the XMP, which is damaged" in caplog.text


def block(order, *, note=b"Canon"):
    """An EXIF block as a camera writes it: tags that few programs know, text that is no ASCII, a maker note, a thumbnail."""
    pack = "<" if order == "II" else ">"
    text, comment = "© Müller".encode(), b"UNICODE\0" + "héllo".encode("utf-16-le" if order == "II" else "utf-16-be")
    data = bytearray(order.encode() + struct.pack(f"{pack}HI", 42, 8))
    tail, size = bytearray(), 8 + (2 + 12 * 5 + 4) + (2 + 12 * 4 + 4) + (2 + 12 + 4) + (2 + 4)

    def stored(content):
        tail.extend(content + b"\0" * (len(content) % 2))
        return size + len(tail) - len(content) - len(content) % 2

    def entry(tag, kind, count, value):
        inline = struct.pack(f"{pack}HH", value, 0) if kind == 3 else value if isinstance(value, bytes) else struct.pack(f"{pack}I", value)
        return struct.pack(f"{pack}HHI", tag, kind, count) + inline

    details, interop, thumbnail = 8 + 66, 8 + 66 + 54, 8 + 66 + 54 + 18
    directories = [
        ([entry(0x0112, 3, 1, 6), entry(0x4746, 3, 1, 5), entry(0x8298, 2, len(text) + 1, stored(text + b"\0")),
          entry(0x8769, 4, 1, details), entry(0x9C9B, 1, 4, b"a\0\0\0")], thumbnail),
        ([entry(0x927C, 7, len(note), stored(note)), entry(0x9286, 7, len(comment), stored(comment)),
          entry(0xA002, 3, 1, 90), entry(0xA005, 4, 1, interop)], 0),
        ([entry(1, 2, 4, b"R98\0")], 0),
        ([], 0),
    ]  # fmt: skip
    for entries, following in directories:
        data += struct.pack(f"{pack}H", len(entries)) + b"".join(entries) + struct.pack(f"{pack}I", following)
    assert len(data) == size
    return bytes(data + tail)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_stays_byte_for_byte_but_for_what_became_untrue(upscaler, tmp_path, suffix, order):
    exif = block(order)
    source = stored(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif)
    result = upscaled(upscaler, source, tmp_path / f"out{suffix}")
    assert result.pixels.shape == (180, 120, 3)
    assert len(result.exif_block) == len(exif)
    different = [n for n, (a, b) in enumerate(zip(exif, result.exif_block, strict=True)) if a != b]
    assert len(different) <= 2 + 2 + 1  # orientation, width, the thumbnail's place
    assert result.exif[0x4746] == 5
    assert result.exif[0x8298].encode("latin-1") == "© Müller".encode()
    assert result.exif.get_ifd(0x8769)[0xA002] == 120
    assert result.exif.get_ifd(0x8769)[0x927C] == b"Canon"


@pytest.mark.parametrize("order", ["II", "MM"])
def test_a_tiff_gets_the_same_tags_but_no_maker_note(upscaler, tmp_path, order, caplog):
    result = upscaled(upscaler, stored(tmp_path / "in.png", exif=b"Exif\0\0" + block(order)), tmp_path / "out.tif")
    assert result.exif[0x4746] == 5
    assert result.exif[0x8298].encode("latin-1") == "© Müller".encode()
    details = result.exif.get_ifd(0x8769)
    assert details[0x9286].startswith(b"UNICODE")
    assert 0x927C not in details  # its pointers refer to the former block
    assert "not in the result: the MakerNote" in caplog.text
    assert 0xA005 not in details  # its place would be in the pixels now
    again = upscaled(upscaler, tmp_path / "out.tif", tmp_path / "again.jpg")
    assert again.exif[0x8298].encode("latin-1") == "© Müller".encode()


def test_exif_that_a_jpeg_cannot_hold_is_told(upscaler, tmp_path, caplog):
    source = stored(tmp_path / "in.png", exif=b"Exif\0\0" + block("II", note=bytes(80_000)))
    assert len(upscaled(upscaler, source, tmp_path / "out.png").exif_block) > 80_000
    assert upscaled(upscaler, source, tmp_path / "out.jpg").exif_block is None
    assert "not in the result: the EXIF: its 80,182 bytes are more than a JPEG holds" in caplog.text


def packet(inner, attribute=""):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        f' xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {attribute}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize(
    "xmp",
    [
        packet("", f'e:DigitalSourceType="{TRAINED}"'),
        packet(f"<e:DigitalSourceType>{TRAINED}/</e:DigitalSourceType>"),
        packet(f'<e:DigitalSourceType rdf:resource="{TRAINED}">\n</e:DigitalSourceType>'),
        packet(f"<e:DigitalSourceType><rdf:Bag><rdf:li>{TRAINED}</rdf:li></rdf:Bag></e:DigitalSourceType>"),
        packet(f"<e:DigitalSourceType>{TRAINED}</e:DigitalSourceType>").decode().encode("utf-16"),
        packet(f"<e:DigitalSourceType>{TRAINED}</e:DigitalSourceType>") + b" " * 40_000 + b"\0" * 100,
        packet(f"<e:DigitalSourceType>{TRAINED}</e:DigitalSourceType><e:Event>{'x' * 64_900}</e:Event>"),  # too long with ours
        packet(f"<e:DigitalSourceType>{TRAINED}</e:DigitalSourceType>")[:-5],  # damaged
        b'<?xml version="1.0" encoding="bogus"?>' + packet(f"<e:DigitalSourceType>{TRAINED}</e:DigitalSourceType>"),
    ],
    ids=["attribute", "slash", "resource", "bag", "utf-16", "padded", "long", "damaged", "encoding"],
)
def test_what_was_generated_stays_generated(upscaler, tmp_path, xmp):
    result = upscaled(upscaler, stored(tmp_path / "in.jpg", xmp=xmp), tmp_path / "out.jpg")
    assert result.xmp.count(b"DigitalSourceType>http") == 1
    assert b"/trainedAlgorithmicMedia<" in result.xmp


def test_xmp_that_a_jpeg_cannot_hold_is_told(upscaler, tmp_path, caplog):
    upscaled(upscaler, stored(tmp_path / "in.jpg", xmp=packet("<e:Event>short</e:Event>")), tmp_path / "long.png")
    with Image.open(tmp_path / "long.png") as image:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet(f"<e:Event>{'x' * 70_000}</e:Event>").decode())
        image.save(tmp_path / "long.png", pnginfo=text)
    assert len(upscaled(upscaler, tmp_path / "long.png", tmp_path / "out.webp", provenance=False).xmp) > 70_000
    assert upscaled(upscaler, tmp_path / "long.png", tmp_path / "out.jpg", provenance=False).xmp is None
    assert "long.png: not in the result: the XMP: its " in caplog.text
    assert b"DigitalSourceType" in upscaled(upscaler, tmp_path / "long.png", tmp_path / "out.jpg").xmp


def test_what_a_killed_process_left_is_swept(upscaler, tmp_path):
    for label in ("", ".pixels", ".resized", ".former"):
        (tmp_path / f".out.png{label}.node_7-0123456789ab.tmp").touch()
    upscaled(upscaler, stored(tmp_path / "in.png"), tmp_path / "out.png", outscale=3)


def test_xmp_as_other_programs_put_it_into_a_png(upscaler, tmp_path):
    image = pyvips.Image.new_from_array(CAT).copy()
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    image.pngsave(str(tmp_path / "in.png"))
    assert b"a negative" in upscaled(upscaler, tmp_path / "in.png", tmp_path / "out.png").xmp


def test_an_odd_exif_value_stays_in_a_block_and_costs_the_tags_of_a_tiff(upscaler, tmp_path, caplog):
    latitude = bytes([0, 2, 0, 5, 0, 0, 0, 3])  # GPS tag 2: three rational numbers
    whole = from_a_camera().tobytes()
    assert whole.count(latitude) == 1
    damaged = whole.replace(latitude, bytes([0, 2, 0, 2, 0, 0, 0, 3]))  # that are text now
    photograph = stored(tmp_path / "in.webp", exif=damaged)
    assert 0x010F in upscaled(upscaler, photograph, tmp_path / "out.webp").exif  # the block is not written by Pillow
    assert "damaged" not in caplog.text
    assert 0x010F not in upscaled(upscaler, photograph, tmp_path / "out.tif").exif
    assert "not in the result: the EXIF, which is damaged" in caplog.text


def test_other_programs_read_the_xmp_of_a_png(upscaler, tmp_path):
    upscaled(upscaler, stored(tmp_path / "in.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert b"DigitalSourceType" in image.info["xmp"]  # before the pixels, where it is looked for
    assert b"DigitalSourceType" in pyvips.Image.new_from_file(str(tmp_path / "out.png")).get("xmp-data")


def test_a_format_that_is_too_small_is_refused_before_the_work(upscaler, tmp_path):
    Image.new("L", (9000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(SrganError, match="webp allows 16383 pixels a side, this image has 18000"):
        upscale_file(upscaler, tmp_path / "wide.png", tmp_path / "out.webp")
    with pytest.raises(SrganError, match=r"no image format has the suffix '\.xyz'. Use one of \.png"):
        upscale_file(upscaler, tmp_path / "wide.png", tmp_path / "out.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide.png"]


def test_an_open_file_is_as_good_and_progress_is_told(upscaler, tmp_path):
    buffer, calls = io.BytesIO(), []
    Image.fromarray(CAT).save(buffer, "PNG")
    small = Upscaler(upscaler.path, tile=40)
    size = upscale_file(small, buffer, tmp_path / "out.png", on_tile=lambda done, total: calls.append((done, total)))
    assert size == (180, 120)
    assert calls == [(n, len(calls) - 1) for n in range(small.tile_count(CAT) + 1)]
    assert len(calls) > 4


def test_every_format_is_tried_here():
    assert {FORMATS[suffix] for suffix in SUFFIXES} == set(FORMATS.values()) - {"jxl"}  # `tests/images/test_jxl.py` tries that


def test_what_cannot_be_written_leaves_nothing(upscaler, tmp_path, monkeypatch):
    former = tmp_path / "out.png"
    former.write_bytes(b"a former result")
    monkeypatch.setattr("srgan.images.write.embed", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        upscale_file(upscaler, stored(tmp_path / "in.png"), former)
    assert former.read_bytes() == b"a former result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]
