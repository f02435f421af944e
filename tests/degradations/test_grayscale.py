import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from srgan.config import recipe as config
from srgan.degradations.recipe import Recipe, describe_plan, in_words

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def steps(**options):
    return TypeAdapter(config.Recipe).validate_python([{"name": "downscale"}, {"name": "grayscale"} | options])


def test_hints_are_squares_that_keep_their_colours():
    hinted = Recipe(steps(hints=(3, 3), hint_size=(4, 4)))
    grey, _ = Recipe(steps()).degrade(IMAGE, 1, (1, 2))
    found, plan = hinted.degrade(IMAGE, 1, (1, 2))
    places = plan[-1].drawn["hints"]
    assert len(places) == 3
    shown = np.zeros(IMAGE.shape[:2], bool)
    for top, left, size in places:
        shown[top : top + size, left : left + size] = True
    assert np.array_equal(found[shown], IMAGE[shown])
    assert np.array_equal(found[~shown], grey[~shown])
    assert np.ptp(grey, axis=2).max() == 0
    assert np.abs(found @ [0.299, 0.587, 0.114] - grey[..., 0]).max() < 0.51  # the luma of an input is grey everywhere


def test_hints_are_counted_in_words():
    _, plan = Recipe(steps(hints=(3, 3))).degrade(IMAGE, 1, (1, 2))
    assert in_words(describe_plan(plan)).endswith("grayscale: hints 3")


def test_hints_differ_between_patches_and_a_patch_smaller_than_a_hint_is_one():
    patches = torch.rand(4, 3, 6, 6)
    recipe = Recipe(steps(hints=(1, 1), hint_size=(9, 9)))
    assert torch.allclose(recipe.degrade_patches(patches, 1, 0, 1), patches, atol=1 / 255)
    places = {str(recipe.degrade(IMAGE, 1, (seed,))[1][-1].drawn) for seed in range(4)}
    assert len(places) == 4
    counts = [len(Recipe("grayscale-hints").degrade(IMAGE, 1, (seed,))[1][-1].drawn["hints"]) for seed in range(40)]
    assert (min(counts), max(counts)) == (0, 8)


@pytest.mark.parametrize("options", [{"hints": (-1, 3)}, {"hints": (0, 1000)}, {"hint_size": (0, 3)}, {"hints": (4, 2)}])
def test_hints_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        steps(**options)


def test_a_recipe_knows_whether_only_colours_are_missing():
    def known(recipe):
        recipe = Recipe(recipe)
        return recipe.removes_colour, recipe.keeps_luma, recipe.gives_hints

    assert known("bicubic") == known("gaussian") == (False, False, False)
    assert known("grayscale") == (True, True, False)
    assert known("grayscale-hints") == (True, True, True)
    assert known(steps(probability=0.5)) == (False, False, False)
    noisy = TypeAdapter(config.Recipe).validate_python([{"name": "downscale"}, {"name": "grayscale"}, {"name": "noise"}])
    assert known(noisy) == (True, False, False)
