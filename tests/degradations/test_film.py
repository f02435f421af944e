"""Grain and scratches."""

import numpy as np
import pytest
import torch

from srgan.degradations.base import Batch, Drawing, Draws
from srgan.degradations.grain import GRAIN
from srgan.degradations.recipe import DRAWS
from srgan.degradations.scratches import SCRATCHES, damage

NONE = dict.fromkeys(("cracks", "scratches", "tears", "fibres", "dust", "stains"), 0.0)


def grained(level, sigma=10.0, size=0.8, seed=0, side=128):
    pixels = torch.full((1, 3, side, side), level)
    return (GRAIN.apply(Batch(pixels, (side,), (side,)), [{"sigma": sigma, "size": size, "seed": seed}]).pixels - pixels)[0]


def test_grain_is_grey_and_has_its_deviation_at_middle_grey():
    grain = grained(0.5)
    torch.testing.assert_close(grain[0], grain[2], rtol=0, atol=1e-6)
    assert float(grain.std()) * 255 == pytest.approx(10, rel=0.05)


def test_grain_is_weaker_in_shadows_and_lights():
    deviations = [float(grained(level).std()) for level in (0.05, 0.5, 0.95)]
    assert deviations[0] == pytest.approx(deviations[1] * 2 * (0.05 * 0.95) ** 0.5, rel=0.1)
    assert deviations[2] == pytest.approx(deviations[0], rel=0.1)


def test_larger_grains_are_correlated():
    def correlation(size):
        grain = grained(0.5, size=size)[0]
        return float(np.corrcoef(grain[:, 1:].flatten(), grain[:, :-1].flatten())[0, 1])

    assert abs(correlation(0.2)) < 0.05 < 0.6 < correlation(1.0)


def test_the_seed_alone_decides_the_grain():
    assert torch.equal(grained(0.5), grained(0.5))
    assert not torch.equal(grained(0.5), grained(0.5, seed=1))


def drawn(number=0, **chosen):
    options = SCRATCHES.config(name="scratches")
    state = Drawing(Draws(np.random.default_rng(number).random(DRAWS).tolist()), 96, 96, (96, 96))
    return SCRATCHES.draw(options, state) | chosen


def test_the_seed_alone_decides_the_damage():
    first = damage(drawn(), 64, 80)
    assert first.shape == (3, 64, 80) and first.dtype == np.float32 and first.max() <= 1 and first.min() >= 0
    assert (first == damage(drawn(), 64, 80)).all()
    assert (first != damage(drawn(1), 64, 80)).any()


def test_an_image_without_damage_is_unchanged():
    pixels = torch.rand(1, 3, 40, 40)
    torch.testing.assert_close(SCRATCHES.apply(Batch(pixels, (40,), (40,)), [drawn(**NONE)]).pixels, pixels)


@pytest.mark.parametrize(("family", "number"), [("cracks", 150.0), ("dust", 800.0), ("stains", 100.0)])
def test_a_patch_has_as_much_damage_per_area_as_a_whole_picture(family, number):
    layer = 2 if family == "stains" else slice(0, 2)
    chosen = NONE | {family: number, "size": 0.5}
    whole = np.mean([damage(drawn(**chosen, seed=seed), 384, 384)[layer].mean() for seed in range(5)])
    patches = np.mean([damage(drawn(**chosen, seed=seed), 64, 64)[layer].mean() for seed in range(150)])
    assert whole > 0
    assert patches == pytest.approx(whole, rel=0.35)


def test_damage_is_bright_and_dark():
    pixels = torch.full((1, 3, 256, 256), 0.5)
    chosen = drawn(scratches=400.0, dust=800.0, size=1.0, paper=[0.9, 0.9, 0.8], dark=0.1)
    change = SCRATCHES.apply(Batch(pixels, (256,), (256,)), [chosen]).pixels - pixels
    assert float(change.max()) > 0.15 and float(change.min()) < -0.15


def test_damage_of_a_larger_size_is_coarser():
    def edges(size):
        """Return the length of the edges for each covered pixel."""
        masks = np.stack([damage(drawn(**NONE | {"cracks": 80.0}, size=size, seed=seed), 256, 256)[0] for seed in range(8)])
        return np.abs(np.diff(masks)).sum() / masks.sum()

    assert edges(2.0) < 0.8 * edges(0.5)
