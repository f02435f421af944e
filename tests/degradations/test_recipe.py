"""Recipes: the same seeds give the same images, in any batch and any number of processes."""

import json

import numpy as np
import pytest
import torch

from srgan.degradations.base import Drawing, Draws
from srgan.degradations.presets import PRESETS
from srgan.degradations.recipe import Recipe, apply, apply_together

RANDOM = [name for name in PRESETS if name != "bicubic"]


@pytest.fixture(scope="module")
def patches():
    y, x = np.mgrid[:64, :64] / 64
    images = [np.stack([x, y, 0.5 + 0.4 * np.sin(20 * x * y + n)]) for n in range(8)]
    return torch.tensor(np.array(images), dtype=torch.float32)


@pytest.mark.parametrize("name", RANDOM)
def test_two_processes_see_the_patches_of_one(name, patches):
    recipe = Recipe(name)
    whole = recipe.degrade_patches(patches, 4, seed=5, step=7)
    halves = [recipe.degrade_patches(patches[4 * rank : 4 * rank + 4], 4, 5, 7, rank, processes=2) for rank in (0, 1)]
    assert whole.shape == (8, 3, 16, 16)
    assert torch.equal(torch.cat(halves), whole)


@pytest.mark.parametrize("name", ["realesrgan", "bsrgan"])
def test_images_in_one_call_as_on_a_gpu_get_what_each_gets_alone(name, patches):
    recipe = Recipe(name)
    rows = np.random.default_rng(0).random((8, 512)).tolist()
    plans = [recipe.draw(Drawing(Draws(row), 64, 64, (16, 16), patch=True)) for row in rows]
    # JPEG rounds to levels, so a difference of one rounding grows to that of a coefficient.
    plans = [[applied for applied in plan if applied.name != "jpeg"] for plan in plans]
    alone = apply(plans, patches)
    torch.testing.assert_close(apply_together(plans, patches), alone, rtol=0, atol=1e-5)


def test_threads_change_nothing(patches):
    threads = torch.get_num_threads()
    expected = Recipe("realesrgan").degrade_patches(patches, 4, seed=5, step=7)
    try:
        torch.set_num_threads(3)
        assert torch.equal(Recipe("realesrgan").degrade_patches(patches, 4, seed=5, step=7), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", RANDOM)
def test_equal_seeds_give_equal_patches_bit_for_bit(name, patches):
    recipe = Recipe(name)
    first = recipe.degrade_patches(patches, 4, seed=5, step=7)
    recipe.degrade_patches(patches, 4, seed=5, step=8)
    assert torch.equal(first, recipe.degrade_patches(patches, 4, seed=5, step=7))
    assert torch.equal(first, (first * 255).round() / 255)
    if name != "grayscale":
        assert not torch.equal(first, recipe.degrade_patches(patches, 4, seed=5, step=8))


@pytest.mark.parametrize("name", RANDOM)
def test_whole_images_repeat_with_parameters_that_json_holds(name):
    image = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)
    first, plan = Recipe(name).degrade(image, 4, (1, 2))
    again, _ = Recipe(name).degrade(image, 4, (1, 2))
    assert first.shape == (11, 15, 3)
    assert np.array_equal(first, again)
    json.dumps([applied.drawn for applied in plan])


def test_second_order_degradations_follow_the_published_probabilities():
    recipe, counts, plans = Recipe("realesrgan"), {}, []
    for seed in range(400):
        draws = Draws(np.random.default_rng(seed).random(512).tolist())
        plans.append(recipe.draw(Drawing(draws, 96, 96, (24, 24), patch=True)))
    for plan in plans:
        for applied in plan:
            counts[applied.place] = counts.get(applied.place, 0) + 1
        assert [applied.name for applied in plan].count("jpeg") == 2
    shares = {place: count / 400 for place, count in counts.items()}
    assert shares[4,] == pytest.approx(0.8, abs=0.06)  # the second blur
    assert shares[7, 0, 1] == pytest.approx(0.8, abs=0.06)  # the last sinc
    last = [plan[-1].name for plan in plans]
    assert last.count("jpeg") / 400 == pytest.approx(0.5, abs=0.08)
    sizes = [applied.drawn["height"] for plan in plans for applied in plan if applied.place == (5,)]
    assert 7 <= min(sizes) < 10 < 26 < max(sizes) <= 29  # of the LR image of 24


def test_a_shuffle_keeps_the_resize_before_the_reduction():
    recipe, orders = Recipe("bsrgan"), set()
    for seed in range(60):
        plan = recipe.draw(Drawing(Draws(np.random.default_rng(seed).random(512).tolist()), 96, 96, (24, 24)))
        names = [applied.name for applied in plan if applied.place[0] == 1]
        orders.add(tuple(names))
        assert "resize" not in names[names.index("downscale") :] if "downscale" in names else True
    assert len(orders) > 20
