"""JPEG XL files."""

import io

import numpy as np
import pillow_jxl  # noqa: F401 (registers the format)
import pytest
import skimage.data
from PIL import Image

from srgan.images.colours import PRIMARIES, _profile
from srgan.images.jxl import read_size
from srgan.images.provenance import written_by
from srgan.images.read import open_image, peek
from srgan.images.write import Options
from srgan.inference.photo import upscale_file
from srgan.utils.errors import SrganError

CAT = skimage.data.chelsea()[100:164, 100:196]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="a negative"/></rdf:RDF></x:xmpmeta>'
)


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", orientation
    return tags


def saved(path, pixels=CAT, **options):
    Image.fromarray(pixels).save(path, effort=3, **options)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_a_photograph_keeps_its_metadata_in_both_directions(upscaler, tmp_path, compressed):
    # The orientation in the EXIF has no effect, because the codestream has one.
    block = bytes(4) + exif(6).tobytes().removeprefix(b"Exif\0\0")
    source = saved(tmp_path / "in.jxl", exif=block, xmp=XMP, lossless=True, use_container=True, compress_metadata=compressed)
    assert np.array_equal(open_image(source).pixels, CAT)
    upscale_file(upscaler, source, tmp_path / "out.jxl")
    result = open_image(tmp_path / "out.jxl")
    assert result.pixels.shape == (128, 192, 3)
    assert result.exif[0x010F] == "Maker"
    assert b"a negative" in result.xmp
    assert written_by(tmp_path / "out.jxl") == (upscaler.sha256, "x2 quality 95")
    content = (tmp_path / "out.jxl").read_bytes()
    place = content.index(b"Exif")
    assert content[place + 4 : place + 8] == bytes(4)  # where the block begins


def test_a_jpeg_in_a_jpeg_xl_is_turned(tmp_path):
    Image.fromarray(CAT).save(tmp_path / "in.jpg", exif=exif(6), quality=95)
    with Image.open(tmp_path / "in.jpg") as image, pytest.warns(UserWarning, match="JPEG reconstruction"):
        image.save(tmp_path / "in.jxl")
    assert np.array_equal(open_image(tmp_path / "in.jxl").pixels, open_image(tmp_path / "in.jpg").pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless_pixels_of_each_kind(upscaler, tmp_path, mode):
    Image.fromarray(CAT).convert(mode).save(tmp_path / "in.png")
    upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.png")
    upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.jxl", Options(lossless=True))
    expected, result = open_image(tmp_path / "out.png"), open_image(tmp_path / "out.jxl")
    assert np.array_equal(result.pixels, expected.pixels)
    assert (result.alpha is None) == (expected.alpha is None)
    assert written_by(tmp_path / "out.jxl")[1] == "x2 lossless"


def test_other_colours_become_srgb_with_a_warning(upscaler, tmp_path, caplog):
    wide = _profile(PRIMARIES[12], None, grey=False)
    Image.fromarray(np.full((20, 30, 3), (200, 60, 60), np.uint8)).save(tmp_path / "in.png", icc_profile=wide)
    upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.jxl")
    upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.png")
    assert "in.png: its colours are converted to sRGB" in caplog.text
    converted, kept = (open_image(tmp_path / f"out{suffix}").pixels[20, 30].astype(int) for suffix in (".jxl", ".png"))
    assert converted[0] > kept[0] + 5  # Display P3's red is a stronger one


@pytest.mark.parametrize("size", [(8, 8), (96, 64), (257, 64), (64, 257), (1000, 750), (1920, 1080), (3, 700)])
def test_the_size_is_known_before_decoding(tmp_path, size):
    for number, container in enumerate((False, True)):
        path = saved(tmp_path / f"{number}.jxl", np.zeros((size[1], size[0], 3), np.uint8), use_container=container, quality=50)
        with path.open("rb") as file:
            assert read_size(file) == (*size, False)
            assert peek(file) == ("JXL", size)


def test_an_image_that_does_not_fit_into_the_memory_is_not_decoded(tmp_path, monkeypatch):
    saved(tmp_path / "in.jxl", lossless=True)
    monkeypatch.setattr("srgan.images.formats.available_memory", lambda: 1000)
    monkeypatch.setattr("srgan.images.jxl.open_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SrganError, match=r"in\.jxl: 96x64 pixels need up to"):
        open_image(tmp_path / "in.jxl")


def test_an_animation_is_refused_in_words(tmp_path):
    """Three frames of 32 x 24 pixels that libjxl 0.11 has encoded."""
    frames = (
        "ff0ac5044d0020260804010040004b188b158095fe7f0000a60300101b390804010044004b188b15801dfcff0000500700182dc2010804050044004b188b1580"
        "5dfcff00005207005029e202"
    )
    (tmp_path / "in.jxl").write_bytes(bytes.fromhex(frames))
    with pytest.raises(SrganError, match=r"in\.jxl: an animated JPEG XL, .* animated PNG, for example with: djxl in\.jxl out\.apng"):
        open_image(tmp_path / "in.jxl")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8])
def test_a_truncated_file_is_told(tmp_path, share):
    content = saved(tmp_path / "in.jxl", lossless=True).read_bytes()
    with pytest.raises(SrganError, match=r"in\.jxl: .*Replace or remove the file"):
        open_image(named(io.BytesIO(content[: int(share * len(content))]), "in.jxl"))


def named(file, name):
    file.name = name
    return file
