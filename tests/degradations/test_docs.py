"""docs/degradations.md shows every step and preset, and its examples are valid."""

import re
from textwrap import indent

import numpy as np
import pytest

from srgan.config import schema
from srgan.degradations.presets import presets_table
from srgan.degradations.recipe import Recipe
from srgan.degradations.registry import degradations_table
from tests.helpers.project import ROOT

PAGE = (ROOT / "docs" / "degradations.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.S | re.M)
REMEDY = "update the page: python docs/images/degradations.py"


def test_the_page_lists_every_step_and_preset():
    assert degradations_table() in PAGE, REMEDY
    assert presets_table() in PAGE, REMEDY


def test_each_picture_exists_and_is_shown():
    shown = set(re.findall(r"\(images/degradations/([^)]+)\)", PAGE))
    files = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images" / "degradations").iterdir()}
    assert shown == set(files), REMEDY
    assert sum(files.values()) < 600_000


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_makes_inputs(example, tmp_path):
    if re.search("^- ", example, flags=re.M):  # a file of srgan degrade: a list of steps
        example = "prepare:\n  recipe:\n" + indent(example, "    ")
    (tmp_path / "params.yaml").write_text(example)
    prepare = schema.load(tmp_path / "params.yaml").prepare
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    lr_image, plan = Recipe(prepare.recipe).degrade(image, prepare.scale, (0,))
    assert lr_image.shape == (64 // prepare.scale, 48 // prepare.scale, 3)
    assert plan
