import math

import pytest

from srgan.tuning.failures import Conditions, repeated_work, simulate

CALM = Conditions(hours=1e9, slow=0.0, spread=0.0)


def test_without_failures_and_slow_nodes_the_units_come_in_rounds():
    assert simulate(12, 10.0, 4, CALM).seconds == pytest.approx(30)
    rest = simulate(13, 10.0, 4, CALM)
    assert (rest.seconds, rest.waited, rest.failures, rest.repeated) == (pytest.approx(40), pytest.approx(30), 0, 0.0)
    assert simulate(2, 10.0, 4, CALM).seconds == pytest.approx(10)


@pytest.mark.parametrize("share", [0.01, 0.5, 2.0])
def test_the_repeated_work_is_that_of_the_closed_form(share):
    """Of the unit's time in mean times between failures: half a unit for each failure of short units, less of long ones."""
    unit, units = 3600 * share, min(int(20_000 / share), 300_000)
    found = simulate(units, unit, 50, Conditions(hours=1.0, slow=0.0, spread=0.0))
    assert found.failures / units == pytest.approx(math.expm1(share), rel=0.06)
    assert found.repeated / units == pytest.approx(repeated_work(unit, 3600), rel=0.06)
    assert found.repeated / found.failures / unit == pytest.approx(1 / share - 1 / math.expm1(share), rel=0.06)


def test_the_mean_loss_of_a_failure_is_half_a_unit_and_shrinks_with_the_unit():
    for unit in (60.0, 600.0):
        found = simulate(int(2e7 / unit), unit, 100, Conditions(hours=10, slow=0.0))
        assert found.repeated / found.failures == pytest.approx(unit / 2, rel=0.06)


def test_a_queue_of_units_is_bounded_as_graham_proved():
    """No node waits while units are left: the time is at most the mean work of a node and one unit (of the slowest)."""
    for units, nodes in ((1000, 7), (100, 99), (5000, 64)):
        found = simulate(units, 30.0, nodes, Conditions(hours=1e9, slow=0.25, slowness=4.0))
        slow = math.ceil(0.25 * nodes)
        even = units * 30.0 / (nodes - slow + slow / 4)
        assert even * 0.98 <= found.seconds <= even * 1.02 + 4 * 30.0 * 1.6
        assert found.waited <= nodes * 4 * 30.0 * 1.6


def test_the_share_of_a_whole_node_as_the_unit_waits_for_the_slow_ones():
    conditions = Conditions(slow=0.1, slowness=3.0, spread=0.0, hours=1e9)
    shares, shards = simulate(20, 1000.0, 20, conditions), simulate(20_000, 1.0, 20, conditions)
    assert shares.seconds == pytest.approx(3000)
    assert shards.seconds == pytest.approx(1000 * 20 / (18 + 2 / 3), rel=0.01)


def test_the_same_seed_gives_the_same_run_and_an_endless_one_is_refused():
    assert simulate(500, 9.0, 8, seed=3) == simulate(500, 9.0, 8, seed=3) != simulate(500, 9.0, 8, seed=4)
    with pytest.raises(ValueError, match="hardly ever finished"):
        simulate(10, 3600.0 * 30, 2, Conditions(hours=1.0))
