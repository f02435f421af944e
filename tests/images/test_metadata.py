"""Metadata of photographs: kept, changed where upscaling makes it untrue, or named in a warning."""

import itertools
import os
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import pyvips
import skimage.data
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from srgan.images.write import Options
from srgan.inference.photo import upscale_file
from srgan.utils.errors import SrganError
from tests.helpers.commands import run

PHOTO = Image.fromarray(skimage.data.chelsea()[100:140, 100:160])  # 60 x 40 pixels; results have 120 x 80
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NAMESPACES = {
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}


@pytest.fixture
def upscale(upscaler, tmp_path, caplog):
    """Upscale a file of the test's folder; what is logged."""

    def named(source, target, **options):
        caplog.clear()
        upscale_file(upscaler, tmp_path / source, tmp_path / target, Options(**options))
        return caplog.text

    return named


@pytest.fixture
def command(model, tmp_path):
    """`srgan upscale` in the test's folder; what it prints."""
    return lambda *names: run("srgan", "upscale", *names, "--model", model, cwd=tmp_path, timeout=60).stderr


def exif_block(entries, order="<", main=(), gap=b""):
    """An EXIF block with these tags, types, counts and values in its Exif IFD, and `main` (tag and short value) in IFD0.

    As piexif and ImageSharp write it, the values follow the Exif IFD at once; others put the offset of a next directory, a `gap`, between.
    """

    def pack(form, *values):
        return struct.pack(order + form, *values)

    exif_at = 8 + 2 + 12 * (1 + len(main)) + 4
    values_at = exif_at + 2 + 12 * len(entries) + len(gap)
    table = tail = b""
    for tag, kind, count, value in entries:
        if len(value) <= 4:
            table += pack("HHI", tag, kind, count) + value.ljust(4, b"\0")
        else:
            table += pack("HHII", tag, kind, count, values_at + len(tail))
            tail += value + b"\0" * (len(value) % 2)
    first = b"".join(pack("HHIHH", tag, 3, 1, value, 0) for tag, value in main) + pack("HHII", 0x8769, 4, 1, exif_at)
    start = (b"II" if order == "<" else b"MM") + pack("HI", 42, 8)
    return start + pack("H", 1 + len(main)) + first + pack("I", 0) + pack("H", len(entries)) + table + gap + tail


def details(path):
    with Image.open(path) as image:
        return image.getexif().get_ifd(0x8769)


def xmp(content, attributes=""):
    spaces = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in NAMESPACES.items() if prefix != "rdf")
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">'
        f'<rdf:Description rdf:about="" {spaces} {attributes}>{content}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def properties(path):
    """All values in the XMP of a file, by prefix and name."""
    with Image.open(path) as image:
        packet = image.tag_v2[700] if image.format == "TIFF" else image.info["xmp"]
    prefixes, found = {address: prefix for prefix, address in NAMESPACES.items()}, {}
    for element in ElementTree.fromstring(packet).iter():
        for name, value in [(element.tag, element.text), *element.attrib.items()]:
            address, _, local = name[1:].partition("}")
            found.setdefault(f"{prefixes.get(address)}:{local}", []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def jpeg_with(path, *segments, behind=b""):
    """A JPEG with these segments (marker, content), and bytes behind its end."""
    PHOTO.save(path)
    content = path.read_bytes()
    added = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(inside) + 2) + inside for marker, inside in segments)
    path.write_bytes(content[:2] + added + content[2:] + behind)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(path, *chunks):
    PHOTO.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:33] + b"".join(itertools.starmap(chunk, chunks)) + content[33:])


# -- EXIF ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_first_value_of_exif_survives_where_no_offset_precedes_it(upscale, command, tmp_path, order):
    """Capture date, exposure time or prompt, whichever comes first, of piexif, piexifjs and old ImageSharp."""
    prompt = b"UNICODE\0" + "a cat, Steps: 20".encode("utf-16-le" if order == "<" else "utf-16-be")
    firsts = {
        0x9003: (2, 20, b"2020:01:02 03:04:05\0"),
        0x829A: (5, 1, struct.pack(f"{order}II", 1, 250)),
        0x9286: (7, len(prompt), prompt),
    }
    for tag, value in firsts.items():
        PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif_block([(tag, *value)], order))
        expected = details(tmp_path / "in.jpg")[tag]
        for name in ("out.jpg", "out.png", "out.webp", "out.tif"):
            assert "not in the result" not in upscale("in.jpg", name)
            assert details(tmp_path / name)[tag] == expected, name
    assert "not in the result" not in command("in.jpg", "-o", "out.jpg")
    assert details(tmp_path / "out.jpg")[tag] == expected


def test_exif_whose_first_directory_is_not_followed_by_an_offset(upscale, tmp_path):
    """A value follows at once, or nothing."""
    start = b"II" + struct.pack("<HIH", 42, 8, 1)
    long, short = b"Maker, Inc.\0", b"abc\0"
    for value, block in (
        (long, start + struct.pack("<HHII", 0x010F, 2, len(long), 22) + long),
        (short, start + struct.pack("<HHI", 0x010F, 2, 4) + short),
    ):
        PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + block)
        upscale("in.jpg", "out.jpg")
        with Image.open(tmp_path / "out.jpg") as image:
            assert image.getexif()[0x010F] == value[:-1].decode()


@pytest.mark.parametrize("target", ["out.jpg", "out.tif"])
@pytest.mark.parametrize("gap", [b"", bytes(4)], ids=["as piexif", "as cameras"])
def test_exif_in_pixels_follows_the_upscaled_image(upscale, tmp_path, target, gap):
    """The stored image of 60 x 40 pixels is shown on its side: 40 x 60, and 80 x 120 in the result."""
    numbers = [
        (0x9214, 3, 4, struct.pack("<4H", 15, 10, 6, 4)),  # SubjectArea: centre, width, height
        (0xA002, 3, 1, struct.pack("<H", 60)),
        (0xA003, 3, 1, struct.pack("<H", 40)),
        (0xA20E, 5, 1, struct.pack("<2I", 1000, 3)),  # FocalPlaneXResolution
        (0xA214, 3, 2, struct.pack("<2H", 0, 0)),  # SubjectLocation
    ]
    PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif_block(numbers, main=[(0x0112, 6)], gap=gap))
    upscale("in.jpg", target)
    found = details(tmp_path / target)
    assert (found[0xA002], found[0xA003]) == (80, 120)
    assert found[0x9214] == (60, 30, 8, 12)  # 30 from the right edge, 10 of 40 from the top become 60 of 80, 30 of 120
    assert found[0xA214] == (80, 0)
    assert float(found[0xA20E]) == pytest.approx(2000 / 3)


def test_a_subject_that_exif_cannot_hold_is_named(upscale, tmp_path):
    subject = (0x9214, 3, 3, struct.pack("<3H", 40_000, 2, 2))  # beyond the image already
    date = (0x9003, 2, 20, b"2020:01:02 03:04:05\0")
    PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif_block([date, subject]))
    for name in ("out.png", "out.tif"):
        assert "in.jpg: not in the result: the EXIF's SubjectArea" in upscale("in.jpg", name)
        assert details(tmp_path / name) == {0x9003: "2020:01:02 03:04:05"}


def test_an_image_with_damaged_exif_is_upscaled_and_the_loss_named(upscale, tmp_path):
    good = exif_block([(0x9003, 2, 20, b"2020:01:02 03:04:05\0")])
    for name, block in {"order": b"XX" + good[2:], "text": b"no EXIF at all", "cut": good[:30]}.items():
        PHOTO.save(tmp_path / f"{name}.jpg", exif=b"Exif\0\0" + block)
        assert f"{name}.jpg: not in the result: the EXIF, which is damaged" in upscale(f"{name}.jpg", "out.jpg")
        with Image.open(tmp_path / "out.jpg") as image:
            assert not image.info.get("exif")


@pytest.mark.parametrize("target", ["out.jpg", "out.tif"])
def test_a_subject_of_one_number_does_not_cost_the_exif(upscale, tmp_path, target):
    entries = [(0x9003, 2, 20, b"2020:01:02 03:04:05\0"), (0x9214, 3, 1, b"\5\0")]
    PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif_block(entries))
    assert not upscale("in.jpg", target)
    assert details(tmp_path / target)[0x9003] == "2020:01:02 03:04:05"


def test_a_length_in_a_tiff_that_no_memory_holds(upscale, tmp_path):
    PHOTO.save(tmp_path / "in.tif", tiffinfo={33723: b"\x1c\2\x19\0\7holiday"})
    content = (tmp_path / "in.tif").read_bytes()
    entry = content.index(struct.pack("<H", 33723))
    (tmp_path / "in.tif").write_bytes(content[: entry + 2] + struct.pack("<HI", 12, 2**32 - 1) + content[entry + 8 :])
    upscale("in.tif", "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (120, 80)


def test_a_tiff_that_repeats_what_it_has_once_is_upscaled(upscale, tmp_path):
    PHOTO.convert("L").save(tmp_path / "in.tif")
    content = (tmp_path / "in.tif").read_bytes()
    once, twice = (struct.pack("<HHI", 262, 3, count) for count in (1, 2))  # PhotometricInterpretation
    assert content.count(once) == 1
    (tmp_path / "in.tif").write_bytes(content.replace(once, twice))
    upscale("in.tif", "out.tif")


def test_the_text_in_a_tiff_that_tells_the_former_shape_is_named(upscale, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.asarray(PHOTO))  # its ImageDescription is {"shape": [40, 60, 3]}
    assert "the ImageDescription, which states the size of the input" in upscale("in.tif", "out.tif")
    assert tifffile.imread(tmp_path / "out.tif").shape == (80, 120, 3)
    with Image.open(tmp_path / "out.tif") as image:
        assert 270 not in image.tag_v2


@pytest.mark.parametrize("target", ["out.tif", "out.avif"])
def test_maker_notes_stay_where_their_pointers_stay_valid(upscale, tmp_path, target):
    PHOTO.save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif_block([(0x927C, 7, 8, b"a camera")]))
    assert "in.jpg: not in the result: the MakerNote" in upscale("in.jpg", target)
    assert 0x927C not in details(tmp_path / target)
    assert "not in the result" not in upscale("in.jpg", "out.webp")
    assert details(tmp_path / "out.webp")[0x927C] == b"a camera"


# -- IPTC, comments, text ---------------------------------------------------------------------------------------------------

IIM = b"\x1c\x01\x5a\0\x03\x1b%G" + b"".join(
    b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(value)) + value for number, value in ((25, b"holiday"), (120, "Größe".encode()))
)


def resource(number, content, name=b""):
    name = bytes([len(name)]) + name + b"\0" * (1 - len(name) % 2)
    return b"8BIM" + struct.pack(">H", number) + name + struct.pack(">I", len(content)) + content + b"\0" * (len(content) % 2)


def photoshop(path):
    with Image.open(path) as image:
        return image.info.get("photoshop")


def test_iptc_and_photoshops_resources_go_from_jpeg_to_tiff_and_back(upscale, tmp_path):
    copyrighted, path = resource(0x040A, b"\1", b"flag"), resource(2000, bytes(26))
    thumbnail, large = resource(0x040C, bytes(64)), resource(0x0BB8, bytes(range(250)) * 300)  # more than a segment holds
    whole = resource(0x0404, IIM) + copyrighted + thumbnail + path + large
    segments = [(0xED, b"Photoshop 3.0\0" + whole[start : start + 65000]) for start in range(0, len(whole), 65000)]
    jpeg_with(tmp_path / "in.jpg", *segments)
    assert "not in the result" not in upscale("in.jpg", "out.tif") + upscale("out.tif", "back.jpg") + upscale("in.jpg", "out.jpg")
    with Image.open(tmp_path / "out.tif") as image:
        assert image.tag_v2[33723].rstrip(b"\0") == IIM
        assert image.tag_v2[34377] == copyrighted + path + large
    for name in ("back.jpg", "out.jpg"):
        assert (tmp_path / name).read_bytes().count(b"Photoshop 3.0\0") == 2
        assert (photoshop(tmp_path / name)[0x0404], photoshop(tmp_path / name)[0x040A]) == (IIM, b"\1")
        assert 0x040C not in photoshop(tmp_path / name)
    for name in ("out.png", "out.webp", "out.avif"):
        assert "in.jpg: not in the result: the IPTC; Photoshop's resources" in upscale("in.jpg", name)


@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_of_a_tiff_that_stores_it_in_numbers(upscale, tmp_path, order):
    padded = IIM + b"\0" * (-len(IIM) % 4)
    for numbers in ("<", ">"):  # as it is, or swapped by the writer
        values = struct.unpack(f"{numbers}{len(padded) // 4}I", padded)
        tifffile.imwrite(
            tmp_path / "in.tif", np.asarray(PHOTO), byteorder=order, metadata=None, extratags=[(33723, 4, len(values), values, True)]
        )
        assert "not in the result" not in upscale("in.tif", "out.jpg")
        assert photoshop(tmp_path / "out.jpg")[0x0404].rstrip(b"\0") == IIM


def test_photoshops_paths_do_not_fit_an_image_that_was_turned(upscale, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg_with(tmp_path / "in.jpg", (0xE1, exif.tobytes()), (0xED, b"Photoshop 3.0\0" + resource(0x0404, IIM) + resource(2000, bytes(26))))
    assert "in.jpg: not in the result: Photoshop's paths (the image was turned)" in upscale("in.jpg", "out.jpg")
    assert photoshop(tmp_path / "out.jpg") == {0x0404: IIM}


def test_comments_of_a_jpeg_are_kept_in_a_jpeg(upscale, tmp_path):
    jpeg_with(tmp_path / "in.jpg", (0xFE, b"first"), (0xFE, "Größe".encode()))
    assert "not in the result" not in upscale("in.jpg", "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert [content for kind, content in image.applist if kind == "COM"] == [b"first", "Größe".encode()]
    assert "in.jpg: not in the result: the comment" in upscale("in.jpg", "out.png")


def test_what_a_gif_says_is_named(upscale, tmp_path):
    PHOTO.save(tmp_path / "in.gif", comment=b"a comment")
    content = (tmp_path / "in.gif").read_bytes()
    extension = b"!\xff\x0bXMP DataXMP" + b"\x05abcde\0"
    (tmp_path / "in.gif").write_bytes(content[:-1] + extension + content[-1:])
    assert "in.gif: not in the result: the XMP of a GIF; the comment" in upscale("in.gif", "out.png")


def text_of(path):
    with Image.open(path) as image:
        image.load()
        return image.text


def test_text_of_a_png_is_kept_in_a_png(upscale, tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, Steps: 20")
    text.add_text("workflow", "{}" * 1000, zip=True)
    text.add_itxt("Title", "Größe", "de", "Titel")
    text.add_text("dpi", "300")  # Pillow has a value of this name
    text.add_text("exif:PixelXDimension", "60")
    PHOTO.save(tmp_path / "in.png", pnginfo=text)
    (tmp_path / "in.png").write_bytes((tmp_path / "in.png").read_bytes()[:-12] + chunk(b"tEXt", b"Author\0me") + chunk(b"IEND", b""))
    assert "in.png: not in the result: PNG text 'exif:PixelXDimension'\n" in upscale("in.png", "out.png")
    kept = text_of(tmp_path / "out.png")
    assert list(kept) == ["XML:com.adobe.xmp", "parameters", "workflow", "Title", "dpi", "Author"]
    assert (kept["parameters"], kept["workflow"]) == ("a cat, Steps: 20", "{}" * 1000)
    assert (kept["Title"], kept["Title"].lang, kept["Title"].tkey, kept["Author"]) == ("Größe", "de", "Titel", "me")
    named = "PNG text 'parameters'; PNG text 'workflow'; PNG text 'Title'; PNG text 'dpi'; PNG text 'Author'"
    assert named in upscale("in.png", "out.jpg")


def test_large_texts_of_a_png_are_kept_and_bounded(upscale, tmp_path):
    workflow, text = "".join(map(str, range(300_000))), PngImagePlugin.PngInfo()
    text.add_text("workflow", workflow, zip=True)
    PHOTO.save(tmp_path / "in.png", pnginfo=text)
    upscale("in.png", "out.png")
    upscale("out.png", "again.png")  # also our own result
    assert text_of(tmp_path / "again.png")["workflow"] == workflow
    png_with(tmp_path / "bomb.png", (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(40 << 20))))
    with pytest.raises(SrganError, match=r"bomb\.png: Decompressed data too large"):
        upscale("bomb.png", "out.jpg")


def test_blocks_that_no_result_can_hold_are_named(upscale, tmp_path):
    jpeg_with(
        tmp_path / "in.jpg",
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)),
        (0xE3, b"Meta\0\0"),
        (0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0\0\0\x18jumdc2pa"),
        (0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0"),  # the quality of the former file
        behind=bytes(100) + b"a video" * 1000,
    )
    said = upscale("in.jpg", "out.jpg")
    lost = "the extended XMP; JPEG segment APP3 (Meta); C2PA content credentials; 7,100 bytes behind the image"
    assert f"in.jpg: not in the result: {lost} (a video, a gain map or other images)\n" in said
    png_with(tmp_path / "in.png", (b"caBX", bytes(20)), (b"prVt", b"private"), (b"iDOT", bytes(28)))
    assert "in.png: not in the result: C2PA content credentials; PNG chunk prVt\n" in upscale("in.png", "out.png")


# -- XMP -------------------------------------------------------------------------------------------------------------------


def sizes(prefix, names, value):
    return "".join(f"<{prefix}:{name}>{value}</{prefix}:{name}>" for name in names)


@pytest.mark.parametrize("target", ["out.jpg", "out.png", "out.webp", "out.tif"])
def test_sizes_in_xmp_follow_the_upscaled_image(upscale, tmp_path, target):
    packet = xmp(
        sizes("GPano", ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels"), 60)
        + sizes("GPano", ("FullPanoHeightPixels", "CroppedAreaImageHeightPixels"), 40)
        + "<GPano:CroppedAreaTopPixels>7.0</GPano:CroppedAreaTopPixels><GPano:ProjectionType>cylindrical</GPano:ProjectionType>"
        + "<exif:PixelXDimension>60</exif:PixelXDimension><exif:FocalPlaneXResolution>1000/3</exif:FocalPlaneXResolution>"
        + "<exif:SubjectArea><rdf:Seq><rdf:li>15</rdf:li><rdf:li>10</rdf:li></rdf:Seq></exif:SubjectArea>",
        'tiff:ImageWidth="60" tiff:ImageLength="40" exif:PixelYDimension="40" dc:format="image/jpeg" tiff:Make="Maker" '
        'tiff:Compression="6"',
    )
    PHOTO.save(tmp_path / "in.jpg", xmp=packet)
    assert "not in the result" not in upscale("in.jpg", target)
    found = properties(tmp_path / target)
    assert (found["tiff:ImageWidth"], found["tiff:ImageLength"]) == ("120", "80")
    assert (found["exif:PixelXDimension"], found["exif:PixelYDimension"]) == ("120", "80")
    assert (found["GPano:FullPanoWidthPixels"], found["GPano:FullPanoHeightPixels"]) == ("120", "80")
    assert (found["GPano:CroppedAreaImageWidthPixels"], found["GPano:CroppedAreaTopPixels"]) == ("120", "14")
    assert found["exif:FocalPlaneXResolution"] == "2000/3"
    assert found["rdf:li"] == ["30", "20"]
    suffix = target.removeprefix("out.")
    assert found["dc:format"] == f"image/{ {'jpg': 'jpeg', 'tif': 'tiff'}.get(suffix, suffix) }"
    assert (found["GPano:ProjectionType"], found["tiff:Make"]) == ("cylindrical", "Maker")
    assert "tiff:Compression" not in found


@pytest.mark.parametrize(
    ("packet", "named", "gone"),
    [
        (xmp("", 'hdrgm:Version="1.0"'), "the gain map (the result is not HDR)", "hdrgm"),
        (xmp("<Container:Directory><rdf:Seq/></Container:Directory>", 'hdrgm:Version="1.0"'), "the gain map", "Container"),
        (xmp("<Container:Directory><rdf:Seq/></Container:Directory>"), "embedded files (Container:Directory)", "Container"),
        (
            xmp("<GCamera:MicroVideoOffset>5024</GCamera:MicroVideoOffset>", 'GCamera:MotionPhoto="1"'),
            "the video of the motion photo",
            "GCamera",
        ),
        (xmp("", 'xmpNote:HasExtendedXMP="04B9E48040A30A6308713BD1E4223B41"'), "the extended XMP", "xmpNote"),
    ],
    ids=["gain map", "gain map in a container", "container", "motion photo", "extended"],
)
def test_xmp_on_data_that_the_result_lacks_is_removed_and_named(upscale, tmp_path, packet, named, gone):
    PHOTO.save(tmp_path / "in.jpg", xmp=packet.replace(b'rdf:about=""', b'rdf:about="" dc:source="a negative"'))
    for provenance in (True, False):
        assert f"in.jpg: not in the result: {named}" in upscale("in.jpg", "out.jpg", provenance=provenance)
        found = properties(tmp_path / "out.jpg")
        assert not [name for name in found if name.startswith(gone)]
        assert found["dc:source"] == "a negative"


def regions(dimensions):
    width, height = dimensions
    return xmp(
        '<mwg-rs:Regions rdf:parseType="Resource">'
        f'<mwg-rs:AppliedToDimensions stDim:w="{width}" stDim:h="{height}" stDim:unit="pixel"/>'
        "<mwg-rs:RegionList><rdf:Bag>"
        '<rdf:li><rdf:Description mwg-rs:Name="Anna">'
        '<mwg-rs:Area stArea:x="0.25" stArea:y="0.1" stArea:w="0.2" stArea:h="0.05" stArea:unit="normalized"/></rdf:Description></rdf:li>'
        '<rdf:li rdf:parseType="Resource"><mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.5</stArea:x><stArea:y>1</stArea:y>'
        "</mwg-rs:Area></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
        "<Iptc4xmpExt:ImageRegion/>",
        'MPReg:Rectangle="0.15, 0.075, 0.2, 0.05"',
    )


def test_face_regions_turn_with_the_image(upscale, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    PHOTO.save(tmp_path / "stored.jpg", exif=exif, xmp=regions((60, 40)))
    PHOTO.save(tmp_path / "shown.jpg", exif=exif, xmp=regions((40, 60)))  # they refer to the upright image already
    PHOTO.save(tmp_path / "upright.jpg", xmp=regions((60, 40)))
    expected = {
        "stored": (["0.9", "0"], ["0.25", "0.5"], "0.05", "0.2", ("80", "120")),
        "shown": (["0.25", "0.5"], ["0.1", "1"], "0.2", "0.05", ("80", "120")),
        "upright": (["0.25", "0.5"], ["0.1", "1"], "0.2", "0.05", ("120", "80")),
    }
    for name, (x, y, width, height, size) in expected.items():
        said = upscale(f"{name}.jpg", "out.jpg")
        assert ("the image regions of the IPTC" in said) == (name != "upright")
        found = properties(tmp_path / "out.jpg")
        assert (found["stArea:x"], found["stArea:y"], found["stArea:w"], found["stArea:h"]) == (x, y, width, height), name
        assert (found["stDim:w"], found["stDim:h"]) == size, name
        assert found["mwg-rs:Name"] == "Anna"
        assert found["MPReg:Rectangle"] == ("0.15, 0.075, 0.2, 0.05" if name == "upright" else "0.875, 0.15, 0.05, 0.2")


def test_xmp_with_a_document_type_is_damaged_in_any_encoding(command, tmp_path):
    """A chain of entities, each of which names the one before, exhausts the stack of expat and ends the process."""
    chain = "".join(f'<!ENTITY e{n} "&e{n - 1};">' for n in range(1, 36_000))
    document = f'<!DOCTYPE x [<!ENTITY e0 "">{chain}]><x>&e35999;</x>'
    packets = {
        "utf-8": document.encode(),
        "utf-16": document.encode("utf-16"),
        "utf-16-be": document.encode("utf-16-be"),
        "ebcdic": b'<?xml version="1.0" encoding="cp037"?>' + document.encode("cp037"),
    }
    (tmp_path / "in").mkdir()
    for name, packet in packets.items():
        png_with(tmp_path / "in" / f"{name}.png", (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)))
    said = command("in", "-o", "out")
    for name in packets:
        assert f"in/{name}.png: not in the result: the XMP, which is damaged" in said
        assert "Iptc4xmpExt:DigitalSourceType" in properties(tmp_path / "out" / f"{name}.png")


def test_xmp_that_is_nested_too_deeply_is_damaged(upscale, tmp_path):
    PHOTO.save(tmp_path / "in.jpg", xmp=xmp("<dc:source>" * 2000 + "</dc:source>" * 2000))
    assert "the XMP, which is damaged (more than 200 nested elements)" in upscale("in.jpg", "out.jpg")


def test_numbers_and_elements_without_end_do_not_stop_the_command(command, tmp_path):
    """An exponent is computed as an integer of that many digits; elements that were removed one by one took quadratic time."""
    (tmp_path / "in").mkdir()
    PHOTO.save(tmp_path / "in" / "a.jpg", xmp=xmp("", 'exif:FocalPlaneXResolution="1e999999999" exif:FocalPlaneYResolution="7200/2"'))
    png_with(tmp_path / "in" / "b.png", (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp("<hdrgm:a/>" * 200_000))))
    assert "2 of 2 images" in command("in", "-o", "out")
    found = properties(tmp_path / "out" / "a.jpg")
    assert (found["exif:FocalPlaneXResolution"], found["exif:FocalPlaneYResolution"]) == ("1e999999999", "7200/1")


def test_xmp_of_too_many_elements_is_damaged(upscale, tmp_path, monkeypatch):
    monkeypatch.setattr("srgan.images.xmp.MAX_ELEMENTS", 1000)
    PHOTO.save(tmp_path / "in.jpg", xmp=xmp("<dc:source/>" * 1000))
    assert "the XMP, which is damaged (more than 1,000 elements)" in upscale("in.jpg", "out.jpg")


def test_blanks_do_not_stop_the_command(command, tmp_path):
    """The time of two regular expressions grew with the square of the blanks: hours for pictures of two kilobytes."""
    blanks, xmp_with_blanks = b" " * 1_000_000, xmp("<dc:source>" + " " * 1_000_000 + "</dc:source>")
    (tmp_path / "in").mkdir()
    png_with(tmp_path / "in" / "a.png", (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(b"xmp 1" + blanks + b"-")))
    png_with(tmp_path / "in" / "b.png", (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp_with_blanks)))
    assert "2 of 2 images" in command("in", "-o", "out")


def test_namespaces_of_photographs_do_not_gather_in_the_process(upscale, tmp_path):
    before = dict(ElementTree._namespace_map)
    for number in range(3):
        own = f'xmlns:q{number}="http://example.org/{number}" q{number}:a="1" rdf:about'
        PHOTO.save(tmp_path / "in.jpg", xmp=xmp("").replace(b"rdf:about", own.encode()))
        upscale("in.jpg", "out.png")
        with Image.open(tmp_path / "out.png") as image:
            assert f'q{number}:a="1"'.encode() in image.info["xmp"]  # under its own prefix
    assert ElementTree._namespace_map == before


def test_prefixes_that_mean_two_things_stay_apart(upscale, tmp_path):
    packet = xmp(
        '<q:a xmlns:q="http://example.org/1"/><q:b xmlns:q="http://example.org/2"/><c xmlns="http://example.org/3" xml:lang="de"/>'
    )
    PHOTO.save(tmp_path / "in.jpg", xmp=packet)
    upscale("in.jpg", "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        tags = {element.tag: element.attrib for element in ElementTree.fromstring(image.info["xmp"]).iter()}
    assert {f"{{http://example.org/{number}}}{name}" for number, name in ((1, "a"), (2, "b"), (3, "c"))} <= tags.keys()
    assert tags["{http://example.org/3}c"] == {"{http://www.w3.org/XML/1998/namespace}lang": "de"}


def test_control_characters_of_a_model_do_not_reach_the_xmp(upscaler, upscale, tmp_path, monkeypatch):
    monkeypatch.setattr(upscaler, "metadata", upscaler.metadata | {"sr.name": "a\x01b\x1b<c>", "sr.train_run": "x\x07y\ud800"})
    PHOTO.save(tmp_path / "in.png")
    upscale("in.png", "out.png")
    found = properties(tmp_path / "out.png")
    assert found["Iptc4xmpExt:AISystemUsed"].startswith("srgan 2x-ab<c>-compact-")
    assert ", run xy, " in found["Iptc4xmpExt:AISystemVersionUsed"]


# -- ICC profiles ----------------------------------------------------------------------------------------------------------


def profile_of(path):
    with Image.open(path) as image:
        return image.info.get("icc_profile")


@pytest.mark.parametrize("target", ["out.png", "out.jpg", "out.webp", "out.tif", "out.avif"])
def test_stray_bytes_behind_a_profile_are_cut_off(upscale, tmp_path, target):
    PHOTO.save(tmp_path / "in.jpg", icc_profile=SRGB + bytes(7))
    assert "not in the result" not in upscale("in.jpg", target)
    assert profile_of(tmp_path / target) == SRGB


def test_a_profile_of_odd_length_is_padded(upscale, tmp_path):
    """Profiles of version 2 may end with a tag of any length; PNG's library takes multiples of four bytes alone."""
    odd = struct.pack(">I", len(SRGB) + 1) + SRGB[4:] + b"\1"
    PHOTO.save(tmp_path / "in.jpg", icc_profile=odd)
    assert "not in the result" not in upscale("in.jpg", "out.png")
    assert profile_of(tmp_path / "out.png") == struct.pack(">I", len(SRGB) + 4) + odd[4:] + bytes(3)


def test_a_damaged_profile_is_left_out_and_named(upscale, tmp_path):
    far = SRGB[:136] + b"\xff" * 4 + SRGB[140:]  # the first tag is said to lie behind the end
    for number, damaged in enumerate((SRGB[:-8], SRGB[:100], bytes(500), SRGB[:36] + b"XXXX" + SRGB[40:], far)):
        PHOTO.save(tmp_path / f"{number}.jpg", icc_profile=damaged)
        assert f"{number}.jpg: not in the result: the ICC profile, which is damaged" in upscale(f"{number}.jpg", "out.png")
        assert profile_of(tmp_path / "out.png") is None


def test_an_error_of_the_encoder_names_the_final_file(upscale, tmp_path, monkeypatch):
    PHOTO.save(tmp_path / "in.png")

    def refuse(image, name, **_):
        raise pyvips.Error(f"unable to write to target {Path(os.fsdecode(name)).name}")

    monkeypatch.setattr(pyvips.Image, "pngsave", refuse, raising=False)
    with pytest.raises(SrganError, match=r"out\.png: could not be written: unable to write to target out\.png$"):
        upscale("in.png", "out.png")
