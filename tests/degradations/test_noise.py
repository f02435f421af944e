"""Noise: its mean, variance and correlations, and its seeds."""

import numpy as np
import pytest
import torch

from srgan.degradations import noise
from srgan.degradations.base import Batch, Drawing, Draws


def flat(level, side=128):
    return Batch(torch.full((1, 3, side, side), level), (side,), (side,))


def noise_of(batch, **drawn):
    changed = noise.NOISE.apply(batch, [{"grey": False, "seed": 3} | drawn])
    return (changed.pixels - batch.pixels)[0]


@pytest.mark.parametrize(
    ("drawn", "level", "sigma"),
    [
        ({"kind": "gaussian", "strength": 20.0}, 0.5, 20 / 255),
        ({"kind": "poisson", "strength": 2.0}, 0.25, 2 * (0.25 / 255) ** 0.5),
        ({"kind": "speckle", "strength": 25.5}, 0.5, 0.05),
    ],
)
def test_noise_has_its_variance_and_no_mean(drawn, level, sigma):
    field = noise_of(flat(level), **drawn)
    assert float(field.mean()) == pytest.approx(0, abs=0.03 * sigma)
    assert float(field.std()) == pytest.approx(sigma, rel=0.03)
    assert torch.corrcoef(field.flatten(1)).sub(torch.eye(3)).abs().max() < 0.05
    grey = noise_of(flat(level), **drawn, grey=True)
    assert torch.equal(grey[0], grey[1])
    assert float(grey.std()) == pytest.approx(sigma, rel=0.03)


def test_grey_poisson_noise_follows_the_luma():
    batch = flat(0.0)
    batch.pixels[:, 0] = 0.7
    batch.pixels[:, 1:] = 0.5
    field = noise_of(batch, kind="poisson", strength=1.0, grey=True)
    luma = 0.299 * 0.7 + (0.587 + 0.114) * 0.5
    assert float(field[0].std()) == pytest.approx((luma / 255) ** 0.5, rel=0.03)
    torch.testing.assert_close(field[0], field[1], rtol=0, atol=1e-6)


def test_correlated_noise_has_its_covariance():
    mixing = torch.tensor([[0.8, 0.1, 0.0], [0.7, -0.3, 0.1], [0.6, 0.2, 0.4]])
    field = noise_of(flat(0.5, 256), kind="gaussian", strength=10.0, mixing=mixing.tolist()) * 255 / 10
    torch.testing.assert_close(torch.cov(field.flatten(1)), mixing @ mixing.T, rtol=0.03, atol=0.02)


def test_noise_of_a_sensor_has_the_variance_of_its_light_and_is_correlated_between_neighbours():
    batch = flat(0.5)
    changed = noise.NOISE.apply(batch, [{"kind": "sensor", "shot": 0.002, "read": 0.0001, "corner": [1, 0], "seed": 3}]).pixels
    light = float(noise._to_linear(torch.tensor(0.5)))
    field = noise._to_linear(changed)[0] - light
    expected = light * 0.002 + 0.0001
    assert float(field.mean()) == pytest.approx(0, abs=0.03 * expected**0.5)
    seen = field[0, 1::2, 0::2]  # where the sensor sees red
    assert float(seen.var()) == pytest.approx(expected, rel=0.1)
    between = field[0, 1::2, 1:-1:2]  # the mean of two of them
    assert float(between.var()) == pytest.approx(expected / 2, rel=0.1)
    neighbours = torch.corrcoef(torch.stack([field[1, :, :-1].flatten(), field[1, :, 1:].flatten()]))[0, 1]
    assert 0.3 < float(neighbours) < 0.8


def test_linear_light_and_back_is_the_same_image():
    values = torch.linspace(0, 1, 256)
    torch.testing.assert_close(noise._from_linear(noise._to_linear(values)), values, rtol=0, atol=1e-6)


def test_all_kinds_share_a_batch_and_each_image_has_noise_of_its_own_seed():
    kinds = ("gaussian", "sensor", "poisson", "speckle", "sensor")
    drawn = []
    for seed, kind in enumerate(kinds):
        options = noise.NoiseOptions(name="noise", kinds={kind: 1.0}, correlated=0.5)
        drawn.append(noise.NOISE.draw(options, Drawing(Draws(np.random.default_rng(seed).random(64).tolist()), 20, 30, (5, 6))))
    heights, widths = (20, 31, 12, 31, 8), (30, 12, 25, 30, 8)
    pixels = torch.rand(5, 3, 31, 30)
    together = noise.NOISE.apply(Batch(pixels, heights, widths), drawn)
    for n, (height, width) in enumerate(zip(heights, widths, strict=True)):
        alone = torch.from_numpy(noise.NOISE.alone(pixels[n, :, :height, :width].numpy(), drawn[n]))
        torch.testing.assert_close(together.pixels[n, :, :height, :width], alone, rtol=0, atol=1e-6)
        assert not torch.equal(alone, pixels[n, :, :height, :width])
