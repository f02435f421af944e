"""Recipes in ``params.yaml``: a wrong one is refused with its line."""

import pytest

from srgan.config import schema
from srgan.utils.errors import SrganError
from tests.helpers.project import base_text

RECIPE = "\n  recipe: bicubic #"


def loaded(folder, *steps):
    """Return the steps of a file with one of them on each line, and the line of the first."""
    text = base_text()
    assert RECIPE in text
    before, after = text.split(RECIPE)
    lines = "".join(f"\n    - {step}" for step in steps)
    (folder / "params.yaml").write_text(f"{before}\n  recipe:{lines} #{after}")
    return schema.load(folder / "params.yaml").prepare.recipe, before.count("\n") + 3


def test_a_recipe_of_steps_is_read(tmp_path):
    steps, _ = loaded(tmp_path, "{name: downscale}", "{name: noise, probability: 0.5, kinds: {speckle: 1.0}, sigma: [0, 10]}")
    assert [step.name for step in steps] == ["downscale", "noise"]
    assert steps[1].sigma == (0, 10)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("{name: noise, sigma: [20, 10]}", "prepare.recipe[1].sigma: is an empty range: 20 is above 10"),
        ("{name: noise, probability: 1.5}", "prepare.recipe[1].probability: must be at most 1 (is 1.5)"),
        ("{name: noise, kinds: {gausian: 1.0}}", "prepare.recipe[1].kinds: has the unknown kind gausian. The kinds are gaussian, poisson"),
        ("{name: noise, kinds: {gaussian: 0.0}}", "prepare.recipe[1].kinds: needs weights of at least 0, and one above 0"),
        ("{name: blur, sigma: [0, 3]}", "prepare.recipe[1].sigma: must be a range within 0.01 and 50"),
        ("{name: blurr}", "prepare.recipe[1].name: 'blurr' is not one of blur"),
        ("{name: resize}", "prepare.recipe[1]: cannot follow downscale: the image has its final size"),
        ("{name: one_of, steps: [{name: blur}, {name: resize}]}", "prepare.recipe[1].steps[1]: cannot follow downscale"),
        ("{name: sequence, steps: []}", "prepare.recipe[1].steps: must not be empty"),
    ],
)
def test_a_wrong_step_is_refused_with_its_line(tmp_path, step, expected):
    with pytest.raises(SrganError) as refused:
        loaded(tmp_path, "{name: downscale}", step)
    assert expected in str(refused.value)
    line = base_text().split(RECIPE)[0].count("\n") + 4
    assert f"params.yaml:{line}: " in str(refused.value)


def test_steps_in_a_sequence_keep_their_order_and_those_in_a_shuffle_may_have_any(tmp_path):
    with pytest.raises(SrganError, match=r"prepare.recipe\[0\].steps\[1\]: cannot follow downscale"):
        loaded(tmp_path, "{name: sequence, steps: [{name: downscale}, {name: resize}]}")
    steps, _ = loaded(tmp_path, "{name: shuffle, steps: [{name: downscale}, {name: resize}]}")
    assert [step.name for step in steps[0].steps] == ["downscale", "resize"]


def test_a_resize_needs_a_reduction_to_the_size_of_the_lr_image(tmp_path):
    with pytest.raises(SrganError, match="has a step resize and no step downscale after it"):
        loaded(tmp_path, "{name: resize}")


def test_a_scale_above_one_needs_a_step_that_reduces(tmp_path):
    with pytest.raises(SrganError, match=r"prepare\.recipe: has no step downscale, which prepare.scale 4 needs"):
        loaded(tmp_path, "{name: noise}")
