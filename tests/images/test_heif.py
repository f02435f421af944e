"""HEIC files."""

import io

import numpy as np
import pillow_heif
import pytest
import skimage.data
from PIL import Image, ImageCms

from srgan.images.read import open_image, peek
from srgan.inference.photo import upscale_file
from srgan.utils.errors import SrganError

CAT = skimage.data.chelsea()[100:164, 100:196]
P3, BT2020, SRGB_CURVE, PQ = 12, 9, 13, 16  # ISO/IEC 23091-2


@pytest.fixture(autouse=True)
def opener():
    pillow_heif.register_heif_opener()


def saved(path, pixels=CAT, **options):
    Image.fromarray(pixels).save(path, quality=95, chroma=444, **options)
    return path


def deep(path, pixels, **options):
    mode = "RGBA;16" if pixels.shape[2] == 4 else "RGB;16"
    pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes()).save(path, quality=-1, **options)
    return path


def test_a_photograph_is_upright_and_keeps_its_metadata(upscaler, tmp_path, caplog):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = saved(tmp_path / "in.heic", exif=exif.tobytes(), icc_profile=profile)
    image = open_image(source)
    assert np.abs(image.pixels.astype(int) - np.rot90(CAT, -1)).mean() < 4
    assert image.orientation == 6
    upscale_file(upscaler, source, tmp_path / "out.jpg")
    result = open_image(tmp_path / "out.jpg")
    assert result.pixels.shape == (192, 128, 3)
    assert result.exif[0x010F] == "Maker"
    assert result.exif.get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
    assert result.orientation == 1
    assert result.icc_profile == profile
    assert caplog.text == ""


def test_ten_bits_are_kept_and_white_stays_white(upscaler, tmp_path):
    pixels = np.full((32, 40, 4), 65535, np.uint16)
    pixels[:, :20, :3] = 20000
    image = open_image(deep(tmp_path / "in.heic", pixels))
    assert image.pixels.dtype == np.uint16
    assert image.pixels.max() == image.alpha.min() == 65535
    assert abs(int(image.pixels[5, 5, 0]) - 20000) < 65535 / 1023
    upscale_file(upscaler, tmp_path / "in.heic", tmp_path / "out.png")
    assert open_image(tmp_path / "out.png").pixels.dtype == np.uint16


@pytest.mark.parametrize("primaries", [P3, BT2020])
def test_wide_colours_that_are_stated_by_numbers_become_a_profile(upscaler, tmp_path, primaries):
    numbers = {"color_primaries": primaries, "transfer_characteristics": SRGB_CURVE, "save_nclx_profile": True}
    source = deep(tmp_path / "in.heif", CAT.astype(np.uint16) * 257, **numbers)
    upscale_file(upscaler, source, tmp_path / "out.png")
    profile = open_image(tmp_path / "out.png").icc_profile
    red = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.red_primary[1]
    assert red[0] == pytest.approx({P3: 0.68, BT2020: 0.708}[primaries], abs=0.03)  # adapted to D50


def test_hdr_is_refused(tmp_path):
    pixels = CAT.astype(np.uint16) * 257
    source = deep(tmp_path / "in.heic", pixels, color_primaries=BT2020, transfer_characteristics=PQ, save_nclx_profile=True)
    with pytest.raises(SrganError, match=r"in\.heic: its colours are HDR \(PQ\), which is not supported"):
        open_image(source)


def test_further_images_are_told(tmp_path, caplog):
    file = pillow_heif.from_pillow(Image.fromarray(CAT))
    file.add_from_pillow(Image.fromarray(CAT[::-1].copy()))
    file.save(tmp_path / "two.heic")
    assert np.abs(open_image(tmp_path / "two.heic").pixels.astype(int) - CAT).mean() < 8
    assert "two.heic: only the first of 2 images is read, 1 left out" in caplog.text


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_told(tmp_path, share):
    content = saved(tmp_path / "in.heic").read_bytes()
    (tmp_path / "in.heic").write_bytes(content[: int(share * len(content))])
    with pytest.raises(SrganError, match=r"in\.heic: .*Replace or remove the file"):
        open_image(tmp_path / "in.heic")


def test_the_size_is_known_before_decoding(tmp_path):
    with saved(tmp_path / "in.heic").open("rb") as file:
        assert peek(file) == ("HEIF", (96, 64))
