"""Camera raw."""

import io

import numpy as np
import pytest
import skimage.data
import tifffile

from srgan.images.read import open_image, peek
from srgan.inference.photo import upscale_file
from srgan.utils.errors import SrganError

CAT = skimage.data.chelsea()[100:164, 100:196]
BALANCE = np.array([0.5, 1, 0.6])  # of the camera, for white
SRGB_FROM_XYZ = np.array([[3.2405, -1.5371, -0.4985], [-0.9693, 1.8760, 0.0416], [0.0556, -0.2040, 1.0572]])
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+1.0"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="a negative"/></rdf:RDF></x:xmpmeta>'
)


def rationals(values):
    return [number for value in np.ravel(values) for number in (round(value * 10_000), 10_000)]


def write_dng(path, orientation=1):
    """A DNG of a photograph: a Bayer mosaic of linear values in 14 bits, as a camera writes it."""
    linear = np.where(CAT <= 10, CAT / 255 / 12.92, ((CAT / 255 + 0.055) / 1.055) ** 2.4) * BALANCE
    mosaic = linear[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = linear[0::2, 0::2, 0], linear[1::2, 1::2, 2]
    tags = [
        (271, 2, 0, "Maker", True),
        (272, 2, 0, "Model One", True),
        (274, 3, 1, orientation, True),
        (700, 1, len(XMP), XMP, True),
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, (0, 1, 1, 2), True),  # CFAPattern: RGGB
        (50706, 1, 4, (1, 4, 0, 0), True),  # DNGVersion
        (50708, 2, 0, "Maker Model One", True),
        (50714, 3, 1, 512, True),  # BlackLevel
        (50717, 4, 1, 16383, True),  # WhiteLevel
        (50721, 10, 9, rationals(np.diag(BALANCE) @ SRGB_FROM_XYZ), True),  # ColorMatrix1
        (50728, 5, 3, rationals(BALANCE), True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
    ]
    pixels = np.uint16(512 + mosaic * (16383 - 512))
    tifffile.imwrite(path, pixels, photometric=32803, extratags=tags, metadata=None)
    return path


def test_a_raw_file_is_developed(upscaler, tmp_path):
    image = open_image(write_dng(tmp_path / "in.dng"))
    assert image.pixels.dtype == np.uint16
    assert image.pixels.shape == CAT.shape
    # The brightness is set by the brightest pixels, and the mosaic blurs, so the colours are compared by their ratios.
    ratios = image.pixels.reshape(-1, 3).mean(0) / CAT.reshape(-1, 3).mean(0)
    assert ratios.max() / ratios.min() < 1.1
    smooth = np.corrcoef(image.pixels[..., 1].ravel(), CAT[..., 1].ravel())[0, 1]
    assert smooth > 0.97
    assert (image.exif[271], image.exif[272]) == ("Maker", "Model One")
    assert not [tag for tag in image.exif if tag > 33000]  # nothing of the sensor
    assert b"a negative" in image.xmp
    assert b"Exposure2012" not in image.xmp
    upscale_file(upscaler, tmp_path / "in.dng", tmp_path / "out.tif")
    result = open_image(tmp_path / "out.tif")
    assert result.pixels.shape == (128, 192, 3)
    assert result.exif[272] == "Model One"


def test_it_is_turned_and_needs_no_suffix(tmp_path):
    content = write_dng(tmp_path / "in.dng", orientation=6).read_bytes()
    image = open_image(io.BytesIO(content))
    assert image.pixels.shape == (96, 64, 3)
    assert image.orientation == 6
    with (tmp_path / "in.dng").open("rb") as file:
        assert peek(file) == ("RAW", (64, 96))


@pytest.mark.parametrize("content", [b"", b"hello", b"FUJIFILMCCD-RAW 0201" + bytes(200), b"\xff\xd8\xff\xe0" + bytes(200)])
def test_what_is_no_raw_file_is_told(tmp_path, content):
    (tmp_path / "in.raf").write_bytes(content)
    with pytest.raises(SrganError, match=r"in\.raf: LibRaw cannot read it .*Replace or remove the file"):
        open_image(tmp_path / "in.raf")


def test_a_truncated_file_is_told_or_read(tmp_path):
    content = write_dng(tmp_path / "in.dng").read_bytes()
    (tmp_path / "in.dng").write_bytes(content[:2000])
    with pytest.raises(SrganError, match=r"in\.dng: LibRaw cannot read it"):
        open_image(tmp_path / "in.dng")
