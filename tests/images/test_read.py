"""Every kind of file by its stated rule."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from srgan.images.png import write_png
from srgan.images.read import read_image, read_rgb
from srgan.utils.errors import SrganError

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]


def saved(folder, name, image, **options):
    Image.fromarray(image).save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("name", "options"),
    [("x.png", {}), ("x.bmp", {}), ("x.tif", {}), ("x.webp", {"lossless": True}), ("x.TIFF", {"compression": "tiff_lzw"})],
)
def test_lossless_formats_come_back_as_they_were(tmp_path, name, options):
    assert np.array_equal(read_image(saved(tmp_path, name, COLOURS, **options)), COLOURS)


def test_jpeg_and_grey_files(tmp_path):
    smooth = cv2.GaussianBlur(COLOURS, (0, 0), 4)
    assert np.abs(read_image(saved(tmp_path, "x.jpg", smooth, quality=98, subsampling=0)).astype(int) - smooth).max() <= 6
    grey = read_image(saved(tmp_path, "grey.png", GREY))
    assert np.array_equal(grey, GREY)
    assert np.array_equal(read_rgb(tmp_path / "grey.png"), np.stack([GREY] * 3, axis=2))
    bilevel = Image.fromarray(GREY).convert("1")
    bilevel.save(tmp_path / "bilevel.png")
    assert np.array_equal(read_image(tmp_path / "bilevel.png"), np.asarray(bilevel).astype(np.uint8) * 255)


def test_a_palette_gives_its_colours(tmp_path):
    indexed = Image.fromarray(COLOURS).quantize(16)
    indexed.save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png"), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("name", ["x.png", "x.webp", "x.tif"])
def test_transparency_is_laid_on_white(tmp_path, name):
    alpha = np.zeros((12, 20), np.uint8)
    alpha[:, 10:], alpha[:, 5:10] = 255, 128
    pixels = np.dstack([COLOURS, alpha])
    image = read_image(saved(tmp_path, name, pixels, **({"lossless": True, "exact": True} if name.endswith("webp") else {})))
    assert (image[:, :5] == 255).all()
    assert np.array_equal(image[:, 10:], COLOURS[:, 10:])
    half = COLOURS[:, 5:10] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(image[:, 5:10] - half).max() <= 1


def test_a_transparent_grey_stays_grey_and_a_transparent_colour_becomes_white(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png", transparency=int(GREY[0, 0]))
    grey = read_image(tmp_path / "grey.png")
    assert grey.ndim == 2
    assert grey[0, 0] == 255
    colour = tuple(COLOURS[3, 4].tolist())
    Image.fromarray(COLOURS).save(tmp_path / "rgb.png", transparency=colour)
    assert (read_image(tmp_path / "rgb.png")[3, 4] == 255).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_are_rounded_not_cut(tmp_path, name):
    values = np.arange(12 * 20, dtype=np.uint32).reshape(12, 20) * 273 % 65536
    expected = ((values + 128) // 257).astype(np.uint8)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"grey-{name}")
    assert np.array_equal(read_image(tmp_path / f"grey-{name}"), expected)
    cv2.imwrite(str(tmp_path / name), np.dstack([values, values // 2, 65535 - values]).astype(np.uint16))
    rgb = read_image(tmp_path / name)  # OpenCV writes blue first
    assert np.array_equal(rgb[..., 2], expected)
    assert np.array_equal(rgb[..., 0], ((65535 - values + 128) // 257).astype(np.uint8))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_range_are_refused(tmp_path, kind):
    with pytest.raises(SrganError, match=r"x\.tif: pixels of 32 bits .* no defined range. Replace"):
        read_image(saved(tmp_path, "x.tif", np.zeros((4, 4), kind)))


def test_cmyk_goes_through_its_profile_or_plainly(tmp_path):
    cmyk = Image.fromarray(COLOURS).convert("CMYK")
    cmyk.save(tmp_path / "plain.tif")
    assert np.array_equal(read_image(tmp_path / "plain.tif"), np.asarray(cmyk.convert("RGB")))
    # No CMYK profile is free to ship; one of another kind shows that a profile is looked at and a wrong one told.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk.save(tmp_path / "profile.tif", icc_profile=profile)
    with pytest.raises(SrganError, match=r"profile\.tif: its pixels are CMYK, but"):
        read_image(tmp_path / "profile.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.png", "x.tif", "deep.png"])
def test_orientation_is_applied(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = GREY.astype(np.uint16) * 257 if name == "deep.png" else GREY
    turned = [lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, np.transpose]
    turned += [lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 2).T, np.rot90]
    path = saved(tmp_path, name, pixels, exif=exif)
    assert np.array_equal(read_image(path), turned[orientation - 1](GREY))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.bmp", "x.tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
def test_a_truncated_file_is_told_by_name(tmp_path, name, share):
    path = saved(tmp_path, name, np.kron(COLOURS, np.ones((8, 8, 1), np.uint8)))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SrganError, match=rf"{name}: .*. Replace or remove the file"):
        read_image(path)


def test_sixteen_bit_files_that_would_be_read_wrongly_are_refused_or_right(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "white.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "white.tif") as image:
        assert image.tag_v2[262] == 0
    with pytest.raises(SrganError, match="16 bits with white as zero"):
        read_image(tmp_path / "white.tif")
    Image.fromarray(deep).save(tmp_path / "hidden.png", transparency=int(deep[0, 0]))
    assert read_image(tmp_path / "hidden.png")[0, 0] == 255


def test_what_is_no_image_is_told_by_name(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(SrganError, match=r"x\.png: no such file"):
        read_image(path)
    path.write_bytes(b"hello")
    with pytest.raises(SrganError, match=r"x\.png: not an image that can be read"):
        read_image(path)
    with pytest.raises(SrganError, match="is a folder, not an image"):
        read_image(tmp_path)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, "x.png", COLOURS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(SrganError, match="decompression bomb"):
        read_image(path)


def test_grey_arrays_are_written_as_grey_files(tmp_path):
    write_png(tmp_path / "x.png", GREY)
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "L"
