"""The comparison of a challenger with the champion."""

import numpy as np
import pytest

from srgan.config.delivery import Promote
from srgan.monitoring.comparison import ALPHA, FIRST_LOOK, allowances, breach, look_number, rises

RULES = Promote()


def pairs(count, shift=0.0, grid=0.0, seed=0):
    """Figures whose differences are as noisy as those of two good models."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        champion = {"input_color_shift": random.gamma(2, 0.2), "checkerboard": random.gamma(2, 0.02), "hatch": random.gamma(0.5, 0.2)}
        challenger = {name: abs(value + random.normal(0, 0.3 * value)) for name, value in champion.items()}
        challenger["input_color_shift"] += shift
        challenger["checkerboard"] += grid
        both = {"consistency": random.normal(35, 2), "niqe": None}
        found.append({"champion": champion | both, "challenger": challenger | both})
    return found


def first_breach(found):
    return next((number for number in range(1, len(found) + 1) if breach(found[:number], RULES)), None)


def test_looks_double_and_their_levels_sum_to_alpha():
    assert [number for number in range(1, 200) if look_number(number)] == [5, 10, 20, 40, 80, 160]
    assert [look_number(FIRST_LOOK * 2**number) for number in range(4)] == [1, 2, 3, 4]
    assert sum(ALPHA / (k * (k + 1)) for k in range(1, 10_000)) == pytest.approx(ALPHA, rel=1e-3)


@pytest.mark.parametrize(("damage", "title"), [({"shift": 4}, "colour shift to the input"), ({"grid": 2}, "checkerboard")])
def test_a_damage_is_a_breach_at_the_first_look(damage, title):
    found = pairs(20, **damage)
    assert first_breach(found) == FIRST_LOOK
    assert breach(found[:5], RULES).startswith(title)
    assert "on 5 images, allowed are" in breach(found[:5], RULES)


def test_a_good_challenger_is_no_breach_in_a_thousand_images():
    for seed in range(5):
        assert first_breach(pairs(1000, seed=seed)[:700]) is None


def test_a_rise_below_the_allowance_is_no_breach():
    assert first_breach(pairs(200, shift=0.9 * allowances(RULES)["input_color_shift"])) is None


def test_images_without_a_figure_do_not_count():
    found = pairs(6, shift=1)
    found[0]["champion"]["input_color_shift"] = None
    rise = rises(found)
    assert rise["input_color_shift"][0] == pytest.approx(1, abs=0.5)
    assert "niqe" not in rise
    assert rise["consistency"] == (0, 0, 0)
