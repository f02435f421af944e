"""Figures of an image and of its result."""

import numpy as np
import pytest
from PIL import Image

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale
from srgan.metrics.artifacts import artifact_metrics
from srgan.metrics.consistency import consistency
from srgan.metrics.psnr_ssim import MAX_PSNR
from srgan.monitoring.figures import INPUT, RESULT, SIDE, measure_image, measure_result
from tests.helpers.degradations import photograph


@pytest.fixture
def images(tmp_path):
    hr_image = photograph("chelsea")[:240, :320]
    lr_image = bicubic_downscale(hr_image, 2)
    sr_image = bicubic_upscale(lr_image, 2)
    return write(tmp_path / "image", lr_image), write(tmp_path / "result.png", sr_image), lr_image, sr_image


def write(path, pixels, form="PNG", **options):
    Image.fromarray(pixels).save(path, form, **options)
    return path


def test_the_figures_of_a_result_are_those_of_the_metrics(images):
    source, result, lr_image, sr_image = images
    found = measure_result(source, result)
    assert set(found) == set(RESULT)
    assert found["consistency"] == pytest.approx(consistency(sr_image, lr_image, 2))
    assert found["checkerboard"] == pytest.approx(artifact_metrics(sr_image, sr_image, 2)["checkerboard"])
    assert found["input_color_shift"] < 0.5
    assert found["niqe"] > 0


def test_a_colour_shift_and_a_grid_show(images, tmp_path):
    source, result, _, sr_image = images
    before = measure_result(source, result)
    brighter = write(tmp_path / "a.png", (sr_image.astype(int) + 4).clip(0, 255).astype(np.uint8))
    assert measure_result(source, brighter)["input_color_shift"] == pytest.approx(4, abs=0.5)
    grid = sr_image.astype(int)
    grid[::2, ::2] += 4
    found = measure_result(source, write(tmp_path / "b.png", grid.clip(0, 255).astype(np.uint8)))
    assert found["checkerboard"] > before["checkerboard"] + 1


def test_a_result_of_another_size_has_fewer_figures(images, tmp_path):
    source, _, _, sr_image = images
    found = measure_result(source, write(tmp_path / "a.png", sr_image[:-30]))
    assert [name for name in RESULT if found[name] is None] == ["consistency", "input_color_shift", "checkerboard"]
    same = measure_result(source, source)  # restoration: the degradation is unknown
    assert [name for name in RESULT if same[name] is None and name != "niqe"] == ["consistency", "checkerboard"]
    assert same["input_color_shift"] == 0
    assert measure_result(source, source, adds_colour=True)["consistency"] == MAX_PSNR


def test_a_large_image_is_measured_in_the_same_middle_of_both(tmp_path):
    lr_image = np.tile(photograph("chelsea")[:299, :449], (3, 2, 1))  # odd sides
    sr_image = lr_image.repeat(2, axis=0).repeat(2, axis=1)
    assert min(sr_image.shape[:2]) > SIDE
    sr_image[:100] = 0  # outside of the middle
    found = measure_result(write(tmp_path / "image", lr_image), write(tmp_path / "result.png", sr_image))
    assert found["consistency"] > 25
    assert found["input_color_shift"] < 0.1


def test_the_figures_of_an_image_state_what_is_known(tmp_path):
    pixels = photograph("coffee")[:160, :200]
    figures, subsampling = measure_image(write(tmp_path / "a", pixels, "JPEG", quality=40, subsampling="4:2:2"))
    assert (figures["quality"], subsampling) == (40, "4:2:2")
    figures, subsampling = measure_image(write(tmp_path / "b", pixels))
    assert (figures["quality"], subsampling) == (100, "")
    grey = measure_image(write(tmp_path / "c", pixels[..., 0]))[0]
    assert grey["blur"] is not None
    assert measure_image(write(tmp_path / "d", pixels[:20]))[0] == dict.fromkeys(INPUT)
