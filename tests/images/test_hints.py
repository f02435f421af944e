import numpy as np
import pytest
from PIL import Image

from srgan.images.hints import paint_hints, to_grey
from srgan.images.read import open_image
from srgan.utils.errors import SrganError

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def strokes(path, colour=(200, 30, 30), size=(30, 20)):
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    pixels[2:6, 3:12, :3], pixels[2:6, 3:12, 3] = colour, 255
    pixels[10:12, 3:12] = (0, 255, 0, 90)  # a faint edge of a brush
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def image(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    return open_image(tmp_path / "grey.png")


def test_strokes_colour_the_grey_image_and_keep_its_luma(image, tmp_path):
    painted = paint_hints(image, strokes(tmp_path / "s.png")).pixels
    assert painted.shape == (20, 30, 3)
    assert np.abs(painted @ [0.299, 0.587, 0.114] - GREY).max() <= 0.501
    changed = np.ptp(painted, axis=2) > 2
    assert changed[2:6, 3:12].mean() > 0.9
    changed[2:6, 3:12] = False
    assert not changed.any()  # transparent and faint pixels give no hint
    middle = painted[2:6, 3:12][(GREY[2:6, 3:12] > 80) & (GREY[2:6, 3:12] < 180)]
    assert (middle[:, 0] > middle[:, 1]).all()  # red


def test_sixteen_bits_are_painted_too(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    painted = paint_hints(open_image(tmp_path / "deep.png"), strokes(tmp_path / "s.png")).pixels
    assert painted.dtype == np.uint16
    assert np.abs(painted @ [0.299, 0.587, 0.114] - GREY * 257.0).max() <= 0.6


def test_a_tinted_scan_becomes_its_luma(tmp_path):
    Image.fromarray(np.stack([GREY, GREY // 2, GREY // 3], axis=2)).save(tmp_path / "sepia.png")
    grey = to_grey(open_image(tmp_path / "sepia.png")).pixels
    assert np.abs(grey - np.stack([GREY, GREY // 2, GREY // 3], axis=2) @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_hints_that_cannot_be_used_are_refused(image, tmp_path):
    with pytest.raises(SrganError, match=r"small\.png: has 15x20 pixels, but .*grey\.png has 30x20"):
        paint_hints(image, strokes(tmp_path / "small.png", size=(15, 20)))
    with pytest.raises(SrganError, match=r"grey\.png: has no transparency"):
        paint_hints(image, tmp_path / "grey.png")
    with pytest.raises(SrganError, match=r"black\.png: has no coloured stroke"):
        paint_hints(image, strokes(tmp_path / "black.png", colour=(9, 9, 9)))
    with pytest.raises(SrganError, match=r"none\.png: no such file"):
        paint_hints(image, tmp_path / "none.png")
