from collections import Counter

import numpy as np
import pytest

from srgan.study.plan import choose_comparisons, order_for_rater

MODELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(("images", "count"), [(40, 60), (10, 60), (100, 60), (7, 20)])
def test_comparisons_differ_and_spread_over_images_and_pairs(images, count):
    chosen = choose_comparisons([f"i{number}" for number in range(images)], MODELS, count, np.random.default_rng(0))
    assert len(set(chosen)) == count
    by_image, by_pair = Counter(one.image for one in chosen), Counter((one.first, one.second) for one in chosen)
    assert len(by_image) == min(images, count)
    assert max(by_image.values()) - min(by_image.values()) <= 1
    assert len(by_pair) == 6
    assert max(by_pair.values()) - min(by_pair.values()) <= 2


def test_a_small_study_has_every_comparison_once():
    chosen = choose_comparisons(["x", "y"], MODELS, 1000, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 12


def test_the_seed_decides_order_and_sides():
    orders = [order_for_rater(60, 8, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sorted(index for index, _ in order) == list(range(68))
        assert sum(swapped for index, swapped in order if index < 60) == 30
        assert sum(swapped for index, swapped in order if index >= 60) == 4
    assert dict(orders[0]) != dict(orders[2])
