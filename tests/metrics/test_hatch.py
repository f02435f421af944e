import cv2
import numpy as np
import pytest
from skimage import data

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale
from srgan.images.read import read_rgb
from srgan.metrics.hatch import hatch
from srgan.metrics.metric import Sample
from srgan.metrics.registry import METRICS, open_metrics, score

PHOTO = data.astronaut()


def pattern(shape, period, degrees, amplitude):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    angle = np.deg2rad(degrees)
    return amplitude * np.cos(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / period + 0.3)[..., None]


def hatched(image, *arguments):
    return np.clip(np.rint(image + pattern(image.shape, *arguments)), 0, 255).astype(np.uint8)


def flat_photo(seed=0):
    """A gradient with noise, like a sky."""
    noise = np.random.default_rng(seed).normal(0, 1.5, (160, 224, 3))
    return np.clip(np.rint(np.linspace(90, 150, 160)[:, None, None] + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("period", "degrees"), [(2, 0), (2.83, 45), (3.3, 20), (4, 90), (4, 135), (6.5, 60), (8, 0)])
def test_the_value_is_the_amplitude_of_a_pattern_of_any_direction(period, degrees):
    image = flat_photo()
    assert hatch(image) < 0.15
    for amplitude in (1, 3):
        assert hatch(hatched(image, period, degrees, amplitude)) == pytest.approx(amplitude, rel=0.35)


def test_photographs_noise_and_edges_have_no_hatch():
    assert hatch(PHOTO) < 0.1
    assert hatch(bicubic_upscale(bicubic_downscale(PHOTO, 4), 4)) < 0.1
    noise = np.random.default_rng(0).normal(0, 3, PHOTO.shape)
    assert hatch(np.clip(PHOTO + noise, 0, 255).astype(np.uint8)) < 0.15
    edges = np.where(np.arange(160)[:, None, None] // 20 % 2, 80, 160) + np.zeros((160, 224, 3))
    assert hatch(edges.astype(np.uint8)) < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_a_rough_texture_such_as_grass_is_no_hatch(seed):
    """Its spectrum is broad and uneven, because few windows are averaged."""
    noise = np.random.default_rng(seed).normal(0, 25, (160, 224, 1))
    grass = flat_photo() + cv2.GaussianBlur(noise, (0, 0), 1.2)[..., None]
    assert hatch(np.clip(np.rint(grass), 0, 255).astype(np.uint8)) == 0


def test_a_faint_pattern_on_a_photograph_is_found_where_checkerboard_sees_nothing():
    image = hatched(PHOTO, 3.3, 20, 1)
    scores = score(Sample(image, PHOTO, scale=4), open_metrics([METRICS["hatch"], METRICS["checkerboard"]]))
    assert scores["hatch"] > 0.5
    assert scores["checkerboard"] < 0.1


def test_a_texture_of_the_original_does_not_count():
    image = hatched(flat_photo(), 4, 30, 3)
    assert hatch(image, image) == 0
    assert hatch(hatched(image, 2.83, 45, 2), image) == pytest.approx(2, rel=0.2)
    assert hatch(cv2.GaussianBlur(image, (0, 0), 1), image) == 0


def test_an_image_without_flat_regions_has_no_hatch():
    rough = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for image in (rough, np.full((128, 128, 3), 255, np.uint8), flat_photo()[:31], flat_photo()[:40, :40]):
        assert hatch(image) == 0


def test_real_photographs_with_and_without_a_hatch_are_far_apart(mirror):
    flat = [path for path in sorted((mirror / "datasets" / "b100").iterdir()) if path.stem in ("102061", "106024", "108082", "109053")]
    for path in flat:
        original = read_rgb(path)[:320, :320]
        plain = bicubic_upscale(bicubic_downscale(original, 4), 4)
        assert hatch(plain, original) < 0.1
        assert hatch(hatched(plain, 4, 45, 1), original) > 0.4
