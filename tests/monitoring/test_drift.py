"""Tests of drift on streams of numbers, and on streams of real images."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from srgan.monitoring.drift import BLOCKS, FALSE_ALARMS, MIN_PSI, Alarms, Drift, Look, look, psi


def normal(seed, count, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, count)


def test_the_psi_is_that_of_the_definition():
    reference = np.arange(1000.0)
    values = np.concatenate([np.arange(500.0), np.arange(250.0)])  # tenths 0..2.5 hold twice as much as 2.5..5, the rest nothing

    counts = np.array([200, 200, 150, 100, 100, 0, 0, 0, 0, 0]) + 0.5
    found, expected = counts / counts.sum(), np.full(10, 0.1)
    assert psi(reference, values) == pytest.approx(float(((found - expected) * np.log(found / expected)).sum()), rel=0.01)
    assert psi(reference, reference) == pytest.approx(0, abs=1e-9)
    assert psi(normal(0, 500), normal(1, 400)) < 0.1
    assert psi(normal(0, 500), normal(1, 400, shift=1)) > MIN_PSI


def test_a_value_that_most_images_have_is_a_bin_of_its_own():
    uncompressed = np.full(300, 100.0)
    assert psi(uncompressed, uncompressed[:50]) == pytest.approx(0, abs=1e-9)
    assert psi(uncompressed, np.full(50, 30.0)) > 5
    assert psi(uncompressed, np.full(50, 101.0)) > 5
    mostly = np.concatenate([np.full(200, 100.0), np.linspace(60, 95, 100)])
    assert psi(mostly, np.full(60, 100.0)) > MIN_PSI  # the rest is missing


def test_a_look_needs_chance_and_importance():
    reference, block = normal(0, 5000), normal(1, 400, shift=0.45)
    found = look("noise", reference, block, level=1e-4)
    test = stats.ks_2samp(reference, block)
    assert (found.distance, found.p) == (test.statistic, test.pvalue)
    assert found.p < 1e-4
    assert found.psi < MIN_PSI
    assert not found.alarm
    assert look("noise", reference, normal(1, 400, shift=1), level=1e-4).alarm
    assert not look("noise", reference, normal(1, 5, shift=1), level=1e-4).alarm


def test_blocks_do_not_overlap_and_leave_missing_values_out():
    drift = Drift({"noise": normal(0, 300).tolist(), "blur": [None] * 30, "quality": [100.0] * 300})
    looks = []
    for number, value in enumerate(normal(1, 800)):
        looks += drift.add({"noise": value if number % 2 else None, "quality": 100, "blur": 1.0})
    counts = Counter((one.figure, one.count) for one in looks)
    assert [counts["noise", size] for size in BLOCKS] == [16, 4, 1]
    assert [counts["quality", size] for size in BLOCKS] == [32, 8, 2]
    assert not any(one.alarm or one.figure == "blur" for one in looks)


def test_the_levels_of_all_tests_sum_to_the_stated_rate():
    drift = Drift(dict.fromkeys(("quality", "noise", "blur"), normal(0, 50).tolist()))
    expected = sum(size * drift.level / size for _ in range(3) for size in BLOCKS)  # false alarms for an image
    assert expected == pytest.approx(FALSE_ALARMS)


@pytest.mark.parametrize("begin", [500, 513, 524])
def test_a_sudden_change_raises_an_alarm_within_50_images_wherever_it_begins(begin):
    drift = Drift({"quality": [100.0] * 200 + [90.0] * 50})
    stream = np.random.default_rng(begin).choice([100.0, 100.0, 100.0, 100.0, 90.0], begin).tolist() + [30.0] * 100
    first = next(number for number, value in enumerate(stream) if any(one.alarm for one in drift.add({"quality": value})))
    assert begin <= first < begin + 50


def test_a_small_change_needs_a_large_block():
    drift = Drift({"noise": normal(0, 1000).tolist()})
    raised = [one.count for value in normal(1, 400, shift=0.8) for one in drift.add({"noise": float(value)}) if one.alarm]
    assert raised[0] > min(BLOCKS)


@pytest.mark.slow
def test_streams_of_equal_numbers_raise_no_alarm():
    reference = dict(zip(("quality", "noise", "blur"), (normal(seed, 500).tolist() for seed in range(3)), strict=True))
    for seed in range(20):
        drift, values = Drift(reference), np.random.default_rng(100 + seed).normal(size=(1000, 3))
        assert not [one for row in values for one in drift.add(dict(zip(reference, row, strict=True))) if one.alarm]


def test_an_alarm_lasts_until_a_block_of_its_size_is_normal():
    def found(count, alarm):
        return Look("noise", count, 0.5, 0.0, 1.0, alarm, 1.0, 2.0)

    alarms = Alarms()
    assert alarms.update([found(100, True)]) == ([found(100, True)], [])
    assert alarms.update([found(25, False)]) == ([], [])
    assert alarms.update([found(25, True)]) == ([], [])
    assert alarms.raised == {"noise": 100}
    assert alarms.update([found(400, False)]) == ([], [found(400, False)])
    assert not alarms.raised
    assert math.isclose(Alarms({"blur": 25}).raised["blur"], 25)
