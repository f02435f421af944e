"""Blur kernels, and the convolution of images of different sizes."""

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from srgan.degradations import blur
from srgan.degradations.base import Batch, Drawing, Draws


def draw(seed=0, **options):
    random = np.random.default_rng(seed)
    return blur.BLUR.draw(blur.BlurOptions(name="blur", **options), Drawing(Draws(random.random(64).tolist()), 96, 96, (24, 24)))


def kernel(**drawn):
    return blur.kernels([drawn])[0]


def deviations(weights):
    half = len(weights) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return [[(weights * a * b).sum() for b in (x, y)] for a in (x, y)]


@pytest.mark.parametrize("kind", blur.KINDS)
def test_kernels_of_all_kinds_sum_to_one_and_are_centred(kind):
    drawn = [draw(seed, kinds={kind: 1.0}) for seed in range(20)]
    weights = blur.kernels(drawn)
    np.testing.assert_allclose(weights.sum((1, 2)), 1)
    np.testing.assert_allclose(weights, weights[:, ::-1, ::-1], atol=1e-12)
    for one, found in zip(drawn, weights, strict=True):
        margin = (len(found) - one["size"]) // 2
        assert np.abs(found).sum() == pytest.approx(np.abs(found[margin : len(found) - margin, margin : len(found) - margin]).sum())


def test_a_kernel_does_not_depend_on_those_beside_it():
    drawn = [draw(seed, kinds=dict.fromkeys(blur.KINDS, 1.0)) for seed in range(30)]
    together = blur.kernels(drawn)
    for one, found in zip(drawn, together, strict=True):
        margin = (len(found) - one["size"]) // 2
        np.testing.assert_allclose(found[margin : len(found) - margin, margin : len(found) - margin], kernel(**one), atol=1e-12)


def test_a_gaussian_has_the_drawn_deviations_along_its_axes():
    weights = kernel(kind="anisotropic", size=21, sigma=[2.0, 1.0], angle=math.pi / 6, beta=1.0)
    turn = np.array([[math.cos(math.pi / 6), -math.sin(math.pi / 6)], [math.sin(math.pi / 6), math.cos(math.pi / 6)]])
    np.testing.assert_allclose(deviations(weights), turn @ np.diag([4.0, 1.0]) @ turn.T, atol=0.01)


def test_a_large_beta_makes_a_disk_and_a_plateau_has_heavier_tails_than_a_gaussian():
    disk = kernel(kind="generalized_isotropic", size=21, sigma=[3.0, 3.0], angle=0.0, beta=20.0)
    assert disk[10, 10] == pytest.approx(disk[10, 12], rel=1e-3)
    assert disk[10, 15] < 1e-6 < disk[10, 13]
    plateau = kernel(kind="plateau_isotropic", size=21, sigma=[1.0, 1.0], angle=0.0, beta=1.0)
    assert plateau[10, 15] > 100 * kernel(kind="isotropic", size=21, sigma=[1.0, 1.0], angle=0.0, beta=1.0)[10, 15]


def test_a_sinc_passes_frequencies_below_its_cutoff_alone():
    response = np.abs(np.fft.fft2(kernel(kind="sinc", size=21, cutoff=math.pi / 2), s=(64, 64)))
    assert response[0, 8] == pytest.approx(1, abs=0.1)  # pi / 4
    assert response[0, 24] < 0.1  # 3 pi / 4


def test_motion_and_defocus_have_their_length_and_radius():
    horizontal = deviations(kernel(kind="motion", size=17, length=12.0, angle=0.0))
    assert horizontal[0][0] == pytest.approx(12**2 / 12, rel=0.1)  # variance of a line
    assert horizontal[1][1] < 0.3
    disk = deviations(kernel(kind="defocus", size=13, radius=5.0))
    assert disk[0][0] == pytest.approx(5**2 / 4, rel=0.1)  # variance of a disk along one axis


def test_draws_stay_in_their_ranges():
    for seed in range(50):
        drawn = draw(seed, kinds={"anisotropic": 1.0}, size=(7, 21), sigma=(0.2, 3.0))
        assert drawn["size"] in range(7, 22, 2)
        assert all(0.2 <= sigma <= 3 for sigma in drawn["sigma"])
    betas = [draw(seed, kinds={"generalized_isotropic": 1.0})["beta"] for seed in range(200)]
    assert min(betas) >= 0.5
    assert max(betas) <= 4
    assert np.mean(np.array(betas) < 1) == pytest.approx(0.5, abs=0.1)
    assert {draw(seed, kinds={"sinc": 1.0}, size=(20, 20))["size"] for seed in range(5)} == {21}


@pytest.mark.parametrize("alone", [True, False])
def test_images_of_different_sizes_are_convolved_with_mirrored_borders(alone):
    sizes = [(20, 31), (33, 12), (4, 4), (33, 31)]
    drawn = [draw(seed, kinds=dict.fromkeys(blur.KINDS, 1.0)) for seed in range(4)]
    pixels = torch.rand(4, 3, 33, 31) * 0.5 + 0.25  # so that no result is outside 0 to 1
    weights = blur.kernels(drawn)
    if alone:
        filters = blur.BLUR.together(drawn)
        found = [blur.BLUR.alone(pixels[n, :, :height, :width].numpy(), filters[n]) for n, (height, width) in enumerate(sizes)]
    else:
        found = blur.BLUR.apply(Batch(pixels, *zip(*sizes, strict=True)), drawn).pixels.numpy()
    for n, (height, width) in enumerate(sizes):
        image = pixels[n, :, :height, :width].double().numpy()
        half = weights.shape[1] // 2
        windows = sliding_window_view(np.pad(image, ((0, 0), (half, half), (half, half)), "symmetric"), weights.shape[1:], (1, 2))
        expected = (windows * weights[n]).sum((3, 4))
        np.testing.assert_allclose(found[n][:, :height, :width], expected, atol=2e-5)


def test_a_blurred_image_stays_between_black_and_white():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1
    blurred = blur.BLUR.apply(Batch(edge, (32,), (32,)), [{"kind": "sinc", "size": 21, "cutoff": 1.2}]).pixels
    assert blurred.min() == 0
    assert blurred.max() == 1
