import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest

from srgan.study.analysis import PRIOR, agreement, alpha, analyse, bradley_terry, holm, win_matrices
from tests.helpers.raters import MODELS, STRENGTHS, votes


def recovered(studies, **raters):
    """The share of simulated studies whose order of the strengths is the planted one."""
    random = np.random.default_rng(1)
    wins = [win_matrices(table, MODELS, np.ones((1, len(table)))) for table in (votes(random, **raters) for _ in range(studies))]
    return (np.diff(bradley_terry(np.concatenate(wins)), axis=1) < 0).all(axis=1).mean()


def test_the_planted_order_is_recovered():
    assert recovered(100) >= 0.95
    assert recovered(50, strengths=dict.fromkeys(MODELS, 0.0)) < 0.2  # no order to recover: 1 of 24 by chance


@pytest.mark.slow
def test_the_planted_order_is_recovered_in_95_percent_of_1000_studies():
    """3 raters x 60 pairs of 4 models. Each is preferred to the next 2 to 1, or 7 to 3 with 10 % equal and 5 % random answers."""
    assert recovered(1000) >= 0.95
    assert recovered(1000, strengths=dict(zip(MODELS, np.log(7 / 3) * np.arange(3, -1, -1), strict=True)), equal=0.1, careless=0.05) >= 0.95


@pytest.mark.slow
def test_the_intervals_hold_what_is_true():
    """Also where the raters differ in taste: then answers are not independent, and a plain interval is too narrow."""
    random, inside = np.random.default_rng(2), {0.0: [], 0.2: []}
    for of_rater, found in inside.items():
        for _ in range(100):
            result = analyse(votes(random, of_rater=of_rater), MODELS)
            found += [row["low"] <= STRENGTHS[row["model"]] - np.log(8) / 2 <= row["high"] for row in result["models"]]
    assert np.mean(inside[0.0]) > 0.95
    assert np.mean(inside[0.2]) > 0.93


def test_strengths_are_those_of_the_most_likely_model():
    """The same likelihood, maximized by SciPy."""
    random = np.random.default_rng(0)
    wins = random.integers(0, 20, (5, 5)) * (1 - np.eye(5))
    padded = wins + PRIOR / (2 * 4) * (1 - np.eye(5))

    def loss(strengths):
        return (padded * np.logaddexp(0, strengths[None] - strengths[:, None])).sum()

    expected = minimize(loss, np.zeros(5), tol=1e-12).x
    assert bradley_terry(wins[None])[0] == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_a_model_that_always_wins_has_a_finite_strength():
    always = pd.DataFrame({"rater": 1, "image": [f"i{n}" for n in range(10)], "first": "a", "second": "b", "choice": "first"})
    found = analyse(always, ["a", "b"])
    assert found["models"][0]["model"] == "a"
    assert 1 < found["models"][0]["strength"] < 5
    (pair,) = found["pairs"]
    assert (pair["share"], pair["high"]) == (1, 1)
    assert pair["low"] == pytest.approx(0.7225, abs=1e-3)  # Wilson's interval for 10 of 10: no resample varies
    assert pair["p"] == pytest.approx(2 / 2**10, rel=1e-2)


def test_pairs_are_counted_from_both_directions():
    rows = [(1, "i0", "a", "b", "first"), (1, "i1", "b", "a", "second"), (2, "i0", "b", "a", "first"), (2, "i2", "a", "b", "equal")]
    found = analyse(pd.DataFrame(rows, columns=["rater", "image", "first", "second", "choice"]), ["a", "b", "c"], samples=0)
    (pair,) = found["pairs"]  # c was not compared
    assert (pair["first"], pair["second"], pair["share"], pair["answers"], pair["images"]) == ("a", "b", 0.625, 4, 3)
    assert (pair["first_preferred"], pair["equal"], pair["second_preferred"]) == (2, 1, 1)
    assert pair["p"] == pytest.approx(binomtest(2, 3).pvalue, rel=1e-2)
    assert (pair["low"], pair["high"]) == (None, None)  # three images are too few
    assert {row["model"]: row["preferred"] for row in found["models"]} == {"a": 0.625, "b": 0.375, "c": None}


def test_equal_models_are_rarely_called_different():
    random, different = np.random.default_rng(3), 0
    for _ in range(20):
        found = analyse(votes(random, dict.fromkeys(MODELS, 0.0)), MODELS, samples=200)
        different += sum(pair["low"] > 0.5 or pair["high"] < 0.5 for pair in found["pairs"])
    assert different <= 6  # of 120


def test_holm_adjusts_for_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_alpha_is_that_of_krippendorffs_example():
    """Four observers, twelve units, nominal values (Krippendorff 2011, section C): 0.743."""
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    counts = np.array([[sum(row[unit] == value for row in table) for value in range(1, 6)] for unit in range(12)], float)
    assert alpha(counts)["alpha"] == pytest.approx(0.743, abs=5e-4)
    assert alpha(counts)["comparisons"] == 11  # one unit has one value


def test_agreement_does_not_depend_on_the_side():
    rows = [(1, "i0", "a", "b", "first"), (2, "i0", "b", "a", "second"), (1, "i1", "a", "b", "second"), (2, "i1", "b", "a", "first")]
    table = pd.DataFrame(rows, columns=["rater", "image", "first", "second", "choice"])
    assert agreement(table) == {"comparisons": 2, "equal_pairs": 1.0, "alpha": 1.0}
    assert agreement(table[table["rater"] == 1]) == {"comparisons": 0, "equal_pairs": None, "alpha": None}


def test_the_order_of_rows_and_models_changes_nothing():
    table = votes(np.random.default_rng(4), pairs=30)
    results = [
        analyse(shuffled, models, samples=0)["models"]
        for shuffled, models in itertools.product((table, table.sample(frac=1, random_state=0)), (MODELS, MODELS[::-1]))
    ]
    assert all([row["model"] for row in result] == [row["model"] for row in results[0]] for result in results)
    assert all(
        row["strength"] == pytest.approx(first["strength"], abs=1e-3)
        for result in results
        for row, first in zip(result, results[0], strict=True)
    )
