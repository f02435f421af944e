import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from srgan.losses.base import LossInputs
from srgan.losses.ms_ssim import EXPONENTS, scales_of
from srgan.losses.registry import LOSSES


def images(side, noise=0.1):
    random = torch.Generator().manual_seed(side)
    hr_image = torch.rand(2, 3, side, side, generator=random)
    hr_image = torch.nn.functional.avg_pool2d(hr_image, 5, 1, 2)  # neighbours resemble each other, as in photographs
    return hr_image + noise * torch.randn(hr_image.shape, generator=random), hr_image


def loss(sr_image, hr_image):
    return LOSSES["ms_ssim"].factory()(LossInputs(sr_image, hr_image, hr_image))


def expected(first, second, scales):
    """MS-SSIM of two `(H, W)` arrays by SciPy's filter, in float64."""
    first, second = (array.astype(np.float64) for array in (first, second))
    result = 1.0
    for number, exponent in enumerate(EXPONENTS[:scales], 1):
        blurred = [
            gaussian_filter(array, 1.5, truncate=3.5)[5:-5, 5:-5]
            for array in (first, second, first * first, second * second, first * second)
        ]
        a, b = blurred[:2]
        similarity = (2 * (blurred[4] - a * b) + 0.03**2) / (blurred[2] - a * a + blurred[3] - b * b + 0.03**2)
        if number == scales:
            similarity = similarity * (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)
        result *= similarity.mean() ** (exponent / sum(EXPONENTS[:scales]))
        if number < scales:
            first, second = (array.reshape(len(array) // 2, 2, -1, 2).mean((1, 3)) for array in (first, second))
    return result


@pytest.mark.parametrize(("side", "scales"), [(64, 3), (96, 4), (176, 5)])
def test_the_value_is_that_of_the_formula_with_the_scales_that_fit(side, scales):
    assert scales_of(side, side) == scales
    sr_image, hr_image = images(side)
    values = [expected(sr_image[n, c].numpy(), hr_image[n, c].numpy(), scales) for n in range(2) for c in range(3)]
    assert loss(sr_image, hr_image).item() == pytest.approx(1 - np.mean(values), abs=2e-5)


def test_one_scale_is_the_ssim_of_scikit_image():
    sr_image, hr_image = images(20)
    values = [
        structural_similarity(one.numpy(), other.numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for one, other in zip(sr_image.flatten(0, 1), hr_image.flatten(0, 1), strict=True)
    ]
    assert loss(sr_image, hr_image).item() == pytest.approx(1 - np.mean(values), abs=2e-5)


@pytest.mark.parametrize("size", [(4, 4), (10, 30), (33, 21)])
def test_images_of_any_size_and_opposite_ones_have_a_finite_gradient(size):
    hr_image = torch.rand(1, 3, *size)
    for start in (1 - hr_image, hr_image):
        sr_image = start.clone().requires_grad_()
        value = loss(sr_image, hr_image)
        value.backward()
        assert torch.isfinite(sr_image.grad).all()
    assert value.item() == pytest.approx(0, abs=1e-5)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts():
    sr_image, hr_image = images(64)
    parts = [loss(sr_image[n : n + 1], hr_image[n : n + 1]).item() for n in range(2)]
    assert loss(sr_image, hr_image).item() == pytest.approx(sum(parts) / 2, rel=1e-5)
