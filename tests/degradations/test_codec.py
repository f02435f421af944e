"""Compression by libraries: WebP and video codecs."""

import io

import numpy as np
import pytest
from PIL import Image

from srgan.degradations.recipe import Recipe
from srgan.degradations.registry import DEGRADATIONS
from srgan.utils.errors import SrganError
from tests.helpers.degradations import batch_of, images_of, photograph

CODECS = {"h264": (20, 36), "hevc": (20, 36), "mpeg4": (2, 16)}


@pytest.fixture(scope="module")
def photo():
    return photograph("chelsea")[20:151, 100:277]


def changed(name, images, drawn):
    return images_of(DEGRADATIONS[name].apply(batch_of(images), drawn))


def psnr(image, other):
    return 10 * np.log10(255**2 / ((image.astype(float) - other) ** 2).mean())


def test_webp_is_pillows(photo):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "webp", quality=30)
    (ours,) = changed("webp", [photo], [{"quality": 30}])
    assert np.array_equal(ours, np.array(Image.open(file)))


@pytest.mark.parametrize("codec", CODECS)
def test_a_stronger_compression_loses_more_and_keeps_place_and_colour(photo, codec):
    weak, strong = CODECS[codec]
    drawn = [{"codec": codec, "strength": strength, "frames": 3, "motion": [1, -2]} for strength in (weak, strong)]
    better, worse = changed("codec", [photo] * 2, drawn)
    assert psnr(photo, better) > psnr(photo, worse) + 3
    assert psnr(photo, better) > 32
    assert np.abs((better.astype(float) - photo).mean((0, 1))).max() < 0.5  # levels
    assert np.array_equal(changed("codec", [photo], drawn[1:])[0], worse)


@pytest.mark.parametrize("codec", CODECS)
def test_any_size_can_be_encoded(photo, codec):
    sizes = ((4, 5), (33, 47), (8, 131), (40, 40))
    images = [photo[:height, :width] for height, width in sizes]
    drawn = [{"codec": codec, "strength": CODECS[codec][0], "frames": frames, "motion": [2, 2]} for frames in (1, 2, 3, 3)]
    results = changed("codec", images, drawn)
    assert all(result.shape == image.shape and psnr(image, result) > 25 for image, result in zip(images, results, strict=True))


def test_the_preset_is_made_ahead_and_repeats_with_its_seed(photo):
    recipe = Recipe("codec")
    assert recipe.made_ahead
    image = photo[:128, :176]
    first, again, other = (recipe.degrade(image, 2, [seed]) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0]) and first[1] == again[1]
    assert first[0].shape == (64, 88, 3)
    assert not np.array_equal(first[0], other[0])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SrganError, match=r"step codec needs the package av\. Install it with: pip install av"):
        Recipe("codec").check_packages()
    Recipe("jpeg").check_packages()
