"""JPEG as tensors against libjpeg, on photographs."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from srgan.config import recipe as config
from srgan.degradations.base import Drawing, Draws
from srgan.degradations.jpeg import JPEG, compress
from srgan.degradations.recipe import Recipe
from tests.helpers.degradations import batch_of, images_of, photograph

PILLOWS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


@pytest.fixture(scope="module")
def photographs():
    """Crops of photographs with odd sizes, and one of whole blocks."""
    cat, cup = photograph("chelsea"), photograph("coffee")
    return [cat[20:221, 100:303], cup[:96, 200:328], cup[150:283, 250:387], cat[100:109, 200:207]]


def checked(steps):
    return TypeAdapter(config.Recipe).validate_python(steps)


def libjpeg(image, quality, subsampling):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality, subsampling=PILLOWS[subsampling])
    return np.array(Image.open(file))


@pytest.mark.parametrize("subsampling", PILLOWS)
def test_agrees_with_libjpeg(photographs, subsampling):
    for quality in (10, 30, 50, 75, 95):
        drawn = [{"quality": quality, "subsampling": subsampling, "shift": [0, 0]}] * len(photographs)
        for image, ours in zip(photographs, images_of(compress(batch_of(photographs), drawn)), strict=True):
            difference = np.abs(ours.astype(int) - libjpeg(image, quality, subsampling))
            assert difference.mean() < 0.2
            assert np.quantile(difference, 0.999) <= 2


def test_each_image_of_a_batch_has_its_own_quality_and_subsampling(photographs):
    settings = [(12, "4:2:0"), (85, "4:4:4"), (40, "4:2:2"), (60, "4:2:0")]
    drawn = [{"quality": quality, "subsampling": subsampling, "shift": [0, 0]} for quality, subsampling in settings]
    together = images_of(compress(batch_of(photographs), drawn))
    for image, one, ours in zip(photographs, drawn, together, strict=True):
        assert np.array_equal(images_of(compress(batch_of([image]), [one]))[0], ours)
        assert np.abs(ours.astype(int) - libjpeg(image, one["quality"], one["subsampling"])).mean() < 0.2


@pytest.mark.parametrize("subsampling", PILLOWS)
def test_shifted_blocks_are_those_of_a_cropped_jpeg(photographs, subsampling):
    whole = np.ascontiguousarray(photographs[1])
    expected = libjpeg(whole, 20, subsampling)[5:69, 3:]
    (shifted,) = images_of(compress(batch_of([whole[5:69, 3:]]), [{"quality": 20, "subsampling": subsampling, "shift": [5, 3]}]))
    inside = np.abs(shifted.astype(int) - expected)[11:-5, 13:]  # the outer blocks hold what the crop lacks
    assert np.quantile(inside, 0.99) <= 2
    (aligned,) = images_of(compress(batch_of([whole[5:69, 3:]]), [{"quality": 20, "subsampling": subsampling, "shift": [0, 0]}]))
    assert np.quantile(np.abs(aligned.astype(int) - expected)[11:-5, 13:], 0.99) > 10


def test_blocks_are_shifted_in_patches_and_if_asked_for():
    def shifts(patch, **options):
        numbers = np.random.default_rng(0).random((20, 9)).tolist()
        (step,) = checked([{"name": "jpeg", **options}])
        return {tuple(JPEG.draw(step, Drawing(Draws(row), 64, 64, (64, 64), patch))["shift"]) for row in numbers}

    assert shifts(patch=False) == {(0, 0)}
    assert len(shifts(patch=True)) > 10
    assert len(shifts(patch=False, shifted=True)) > 10


def test_a_number_fixes_the_quality_of_the_preset(photographs):
    image = np.ascontiguousarray(photographs[2])
    result, plan = Recipe("jpeg-20").degrade(image, 1, [0])
    assert [one.drawn["quality"] for one in plan] == [20]
    assert np.abs(result.astype(int) - libjpeg(image, 20, "4:2:0")).mean() < 0.2


@pytest.mark.parametrize("options", [{"quality": (0, 50)}, {"quality": (50, 101)}, {"quality": (60, 50)}])
def test_impossible_qualities_are_refused(options):
    with pytest.raises(ValueError, match="range"):
        checked([{"name": "jpeg", **options}])
