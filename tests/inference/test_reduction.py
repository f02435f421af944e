import math

import cv2
import numpy as np
import pytest
import skimage.data

from srgan.degradations.bicubic import bicubic_downscale, modcrop
from srgan.degradations.blur import kernels
from srgan.inference.reduction import Reduction, agreement, estimate_blur

CAT = skimage.data.chelsea()


def covariance(along, across, angle):
    axes = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return axes @ np.diag([along**2, across**2]) @ axes.T


def blurred(image, along, across, angle):
    (kernel,) = kernels([{"kind": "anisotropic", "size": 25, "sigma": [along, across], "angle": angle, "beta": 1.0}])
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_blur_it_is_the_bicubic_filter(scale):
    image = modcrop(CAT, scale)
    reduced = Reduction(scale)(image.astype(np.float32) / 255)
    assert np.array_equal(np.rint(reduced * 255), bicubic_downscale(image, scale))
    assert agreement(bicubic_downscale(image, scale).astype(np.float32) / 255, image.astype(np.float32) / 255, Reduction(scale)) > 50


def test_a_blur_is_that_of_the_recipe_in_pixels_of_the_result():
    image = modcrop(CAT, 4)
    wanted = bicubic_downscale(blurred(image, 3.2, 1.4, 0.5), 4)
    reduced = Reduction(4, covariance(0.8, 0.35, 0.5))(image.astype(np.float32) / 255)
    assert np.abs(reduced * 255 - wanted).max() < 1.5
    assert np.abs(Reduction(4, covariance(0.8, 0.35, -0.5))(image.astype(np.float32) / 255) * 255 - wanted).max() > 3


@pytest.mark.parametrize(("along", "across", "angle"), [(0.9, 0.4, 0.4), (1.0, 0.5, 2.0), (0.6, 0.6, 0.0), (0.0, 0.0, 0.0)])
def test_the_blur_of_a_photograph_is_found(along, across, angle):
    image = modcrop(skimage.data.astronaut(), 4)
    lr_image = bicubic_downscale(blurred(image, 4 * along + 0.01, 4 * across + 0.01, angle), 4)
    found = estimate_blur(lr_image.astype(np.float32) / 255)
    widths = np.sqrt(np.maximum(np.linalg.eigvalsh(found)[::-1], 0))
    assert widths == pytest.approx([along, across], abs=0.31)
    if along > across:
        assert found[0, 1] * math.sin(2 * angle) > 0  # the direction


def test_a_small_image_counts_as_sharp():
    assert not estimate_blur(np.random.default_rng(0).random((79, 200, 3), np.float32)).any()
    assert np.isfinite(estimate_blur(np.zeros((80, 80, 3), np.float32))).all()
