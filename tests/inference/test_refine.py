import logging

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from srgan import Upscaler
from srgan.degradations.bicubic import bicubic_downscale
from srgan.inference.reduction import Reduction, agreement
from srgan.inference.refine import Refinement
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.utils.errors import SrganError

HR = skimage.data.astronaut()[:256, 100:356]
LR = bicubic_downscale(cv2.GaussianBlur(HR, (0, 0), 1.6), 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_generator(path, build_generator("compact", scale=2, features=8, depth=1), {"sr.objective": "psnr"})
    return path


def unit(image):
    return image.astype(np.float32) / 255


def test_without_options_the_model_stays(weights):
    assert np.array_equal(Upscaler(weights, refine=Refinement()).upscale(LR), Upscaler(weights).upscale(LR))


def test_an_ensemble_treats_all_symmetries_alike(weights):
    whole = Upscaler(weights, refine=Refinement(ensemble=8))
    for turn in (lambda image: np.rot90(image), lambda image: image[:, ::-1]):
        turned = np.ascontiguousarray(turn(LR))
        assert np.abs(turn(whole.upscale(LR)).astype(int) - whole.upscale(turned)).max() <= 1
        assert np.abs(turn(Upscaler(weights).upscale(LR)).astype(int) - Upscaler(weights).upscale(turned)).max() > 1


def test_back_projection_makes_the_result_agree_with_the_image(weights):
    lr_image = bicubic_downscale(HR, 2)
    plain, refined = (Upscaler(weights, refine=each).upscale(lr_image) for each in (None, Refinement(back_project=True)))
    assert agreement(unit(lr_image), unit(refined), Reduction(2)) > agreement(unit(lr_image), unit(plain), Reduction(2)) + 3
    assert cv2.PSNR(refined, HR) > cv2.PSNR(plain, HR) + 1


@pytest.mark.parametrize("image", [LR, LR[..., 0], LR.astype(np.uint16) * 257, unit(LR), np.dstack([LR, LR[..., :1]])])
def test_tiles_equal_the_whole_image(weights, image):
    options = Refinement(ensemble=8, back_project=True)
    whole, tiled = (Upscaler(weights, tile=tile, refine=options).upscale(image) for tile in (512, 96))
    assert whole.dtype == image.dtype
    assert np.abs(whole.astype(np.float64) - tiled).max() <= {"u": 1, "f": 1e-4}[image.dtype.kind]


def test_training_on_the_image_adds_what_the_blur_took(weights, caplog):
    upscaler = Upscaler(weights, refine=Refinement(adapt_seconds=5))
    with caplog.at_level(logging.INFO):
        adapted = upscaler.upscale(LR)
    assert "adapted in" in caplog.text
    assert cv2.PSNR(adapted, HR) > cv2.PSNR(Upscaler(weights).upscale(LR), HR) + 0.3
    assert np.array_equal(upscaler.for_image(LR[:40]).upscale(LR), Upscaler(weights).upscale(LR))  # too small, and nothing is left over


def test_a_sharp_image_is_not_trained_on(weights, caplog):
    sharp = bicubic_downscale(skimage.data.astronaut(), 2)
    with caplog.at_level(logging.INFO):
        adapted = Upscaler(weights, refine=Refinement(adapt_seconds=60)).upscale(sharp)
    assert "not adapted: the image is sharp" in caplog.text
    assert np.array_equal(adapted, Upscaler(weights).upscale(sharp))


def test_a_training_that_makes_it_worse_is_dropped(weights, monkeypatch, caplog):
    monkeypatch.setattr("srgan.inference.adapt.LEARNING_RATE", 10.0)
    with caplog.at_level(logging.INFO):
        result = Upscaler(weights, refine=Refinement(adapt_seconds=1)).upscale(LR)
    assert "not adapted in" in caplog.text
    assert np.array_equal(result, Upscaler(weights).upscale(LR))


def test_what_does_not_fit_is_an_error(weights, model, tmp_path):
    cases = [
        (weights, Refinement(ensemble=4), False, "--ensemble 4: the image has 8 symmetries"),
        (weights, Refinement(ensemble=8), True, "fit images"),
        (model, Refinement(adapt_seconds=60), False, "cannot be trained. Name a starter"),
    ]
    save_generator(tmp_path / "same.safetensors", build_generator("compact", scale=1, features=4, depth=1), {"sr.objective": "psnr"})
    cases.append((tmp_path / "same.safetensors", Refinement(back_project=True), False, "--back-project: needs a model that enlarges"))
    for path, options, clip, message in cases:
        with pytest.raises(SrganError, match=message):
            options.check(Upscaler(path), clip)
