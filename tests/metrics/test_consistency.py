import numpy as np
import pytest
from skimage import data

from srgan.degradations.bicubic import bicubic_downscale
from srgan.metrics.metric import Sample
from srgan.metrics.registry import METRICS, open_metrics, score

PHOTO = data.astronaut()[:128, :160]
GREY = np.repeat((PHOTO @ [0.299, 0.587, 0.114]).round().astype(np.uint8)[..., None], 3, axis=2)


def scored(*arguments, **options):
    found = score(Sample(*arguments, **options), open_metrics([METRICS["consistency"], METRICS["input_color_shift"]]))
    return found.get("consistency"), found.get("input_color_shift")


def test_an_output_that_reduces_to_its_input_is_consistent():
    lr_image = bicubic_downscale(PHOTO, 4)
    same, shift = scored(PHOTO, None, lr_image, scale=4)
    assert same == np.inf
    assert shift < 0.5
    brighter, shift = scored(np.clip(PHOTO.astype(int) + 5, 0, 255).astype(np.uint8), None, lr_image, scale=4)
    assert brighter == pytest.approx(34, abs=1)
    assert shift == pytest.approx(5, abs=0.5)


def test_a_coloured_output_is_consistent_with_a_grey_input_if_its_luma_is_that_input():
    kept, _ = scored(PHOTO, None, GREY, scale=1, grey_input=True)
    assert kept > 48
    changed, _ = scored(np.clip(PHOTO.astype(int) + 8, 0, 255).astype(np.uint8), None, GREY, scale=1, grey_input=True)
    assert changed == pytest.approx(30, abs=1)


def test_a_recipe_without_a_known_rule_has_no_consistency():
    assert np.isnan(scored(PHOTO, None, GREY, scale=1)[0])
    assert scored(PHOTO, scale=4) == (None, None)
