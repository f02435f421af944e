"""Sharpening, chroma shift, posterising, grayscale and fading."""

import cv2
import numpy as np
import pytest
import torch

from srgan.degradations.base import Batch
from srgan.degradations.chroma_shift import CHROMA_SHIFT
from srgan.degradations.colours import to_rgb, to_ycbcr
from srgan.degradations.fading import FADING
from srgan.degradations.grayscale import GRAYSCALE
from srgan.degradations.posterize import POSTERIZE
from srgan.degradations.sharpen import SHARPEN
from srgan.metrics.psnr_ssim import luma


def apply(degradation, pixels, *drawn):
    count, _, height, width = pixels.shape
    return degradation.apply(Batch(pixels, (height,) * count, (width,) * count), list(drawn)).pixels


@pytest.fixture
def noise():
    return torch.rand(2, 3, 40, 48, generator=torch.manual_seed(0))


def test_sharpening_overshoots_on_both_sides_of_an_edge_and_keeps_flat_areas():
    step = torch.full((1, 3, 32, 32), 0.3)
    step[..., 16:] = 0.6
    sharp = apply(SHARPEN, step, {"sigma": 1.5, "amount": 1.0})
    assert float(sharp[..., 15].max()) < 0.2 and float(sharp[..., 16].min()) > 0.7
    torch.testing.assert_close(sharp[..., :8], step[..., :8])
    torch.testing.assert_close(sharp[..., -8:], step[..., -8:])


def test_a_wider_halo_reaches_further():
    step = torch.full((2, 3, 32, 64), 0.3)
    step[..., 32:] = 0.6
    narrow, wide = apply(SHARPEN, step, {"sigma": 0.5, "amount": 1.0}, {"sigma": 3.0, "amount": 1.0})
    halo = [int(((one - step[0]).abs() > 0.01)[0, 0].sum()) for one in (narrow, wide)]
    assert halo[0] <= 4 < 8 <= halo[1]


def test_a_shift_of_the_colours_moves_red_against_blue(noise):
    shifted = apply(CHROMA_SHIFT, noise, *[{"kind": "rgb", "down": 1.0, "right": -2.0}] * 2)
    torch.testing.assert_close(shifted[:, 1], noise[:, 1])
    torch.testing.assert_close(shifted[:, 0, 3:-3, 3:-3], noise.roll((1, -2), (2, 3))[:, 0, 3:-3, 3:-3])
    torch.testing.assert_close(shifted[:, 2, 3:-3, 3:-3], noise.roll((-1, 2), (2, 3))[:, 2, 3:-3, 3:-3])


def test_half_a_pixel_is_the_mean_of_two(noise):
    shifted = apply(CHROMA_SHIFT, noise, *[{"kind": "rgb", "down": 0.0, "right": 0.5}] * 2)
    torch.testing.assert_close(shifted[:, 0, :, 1:], (noise[:, 0, :, 1:] + noise[:, 0, :, :-1]) / 2)


def test_a_shift_of_the_chroma_keeps_the_luma(noise):
    pixels = 0.4 + noise * 0.2  # the result stays in 0..1
    shifted = apply(CHROMA_SHIFT, pixels, *[{"kind": "chroma", "down": 0.7, "right": 1.4}] * 2)
    before, after = to_ycbcr(pixels), to_ycbcr(shifted)
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=0, atol=1e-5)
    assert float((after[:, 1:] - before[:, 1:]).abs().mean()) > 0.01


def test_the_colour_planes_are_those_of_jpeg(noise):
    torch.testing.assert_close(to_rgb(to_ycbcr(noise)), noise, rtol=0, atol=1e-5)
    image = (noise[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]].astype(np.float32)
    planes = to_ycbcr(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0).numpy() * 255 + [0, 128, 128]
    assert np.abs(planes - expected).max() < 1


def test_posterising_leaves_few_levels(noise):
    rgb, chroma = apply(POSTERIZE, noise, {"kind": "rgb", "levels": 8}, {"kind": "chroma", "levels": 8})
    assert [len(plane.unique()) for plane in rgb] == [8, 8, 8]
    assert float((rgb - noise[0]).abs().max()) <= 0.5 / 7 + 1e-6
    assert len(chroma[0].unique()) > 100


def test_posterising_the_chroma_keeps_luma_and_grey():
    ramp = torch.linspace(0.3, 0.7, 64).expand(1, 3, 8, 64).clone()
    drawn = {"kind": "chroma", "levels": 12}
    torch.testing.assert_close(apply(POSTERIZE, ramp, drawn), ramp, rtol=0, atol=1e-5)
    ramp[:, 0] += 0.1
    bands = apply(POSTERIZE, ramp, drawn)
    torch.testing.assert_close(to_ycbcr(bands)[:, 0], to_ycbcr(ramp)[:, 0], rtol=0, atol=1e-5)
    assert float((bands - ramp).abs().max()) > 0.01


def test_grayscale_has_three_equal_channels_with_the_luma_of_the_metrics(noise):
    image = (noise[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    grey = apply(GRAYSCALE, torch.from_numpy(image).permute(2, 0, 1)[None] / 255, {})
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    np.testing.assert_allclose(16 + 219 * grey[0, 0].numpy(), luma(image), atol=0.01)


FADED = {"saturation": 1.0, "white": [0.9, 0.8, 0.6], "black": [0.2, 0.1, 0.1], "exponent": [1.0, 1.0, 1.0]}


def test_fading_raises_black_and_tints_white():
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[..., 8:] = 1
    faded = apply(FADING, pixels, FADED | {"vignette": 0.0, "centre": [8.0, 8.0], "radius": 11.0})
    torch.testing.assert_close(faded[0, :, 0, 0], torch.tensor(FADED["black"]))
    torch.testing.assert_close(faded[0, :, 0, 15], torch.tensor(FADED["white"]))


def test_the_vignette_darkens_or_bleaches_the_far_corner():
    pixels = torch.full((2, 3, 32, 32), 0.5)
    place = {"centre": [4.0, 4.0], "radius": 32.0}
    plain = apply(FADING, pixels, *[FADED | place | {"vignette": 0.0}] * 2)
    dark, pale = apply(FADING, pixels, FADED | place | {"vignette": 0.3}, FADED | place | {"vignette": -0.3})
    assert float(dark[0, -1, -1]) < float(plain[0, 0, -1, -1]) - 0.05
    assert float(pale[0, -1, -1]) > float(plain[1, 0, -1, -1]) + 0.05
    torch.testing.assert_close(dark[:, 4, 4], plain[0, :, 4, 4], rtol=0, atol=1e-3)
