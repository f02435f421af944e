"""Simulate the work of many nodes on many equal units, while some nodes are slow and any of them may fail.

A free node takes the next unit. A node that fails loses its current unit and begins it again after a restart. So a unit, such as a
shard, is what a failure repeats.
"""

import math
from dataclasses import dataclass

import numpy as np

MAX_ATTEMPT = 10.0  # longest unit, in mean times between two failures. A longer one is hardly ever finished
LLAMA_HOURS = 54 * 24 * 2048 / 419  # a node with 8 GPUs: 419 failures in 54 days of 2048 nodes (arXiv:2407.21783, section 3.3.4)


@dataclass(frozen=True)
class Conditions:
    """Rates of failures and slowness.

    Attributes:
        hours: mean time between two failures of a node.
        restart: seconds from a failure until the node works again.
        slow: share of slow nodes.
        slowness: time of a slow node / time of another one.
        spread: standard deviation of the logarithm of the time of a unit.
    """

    hours: float = LLAMA_HOURS
    restart: float = 300.0
    slow: float = 0.05
    slowness: float = 2.0
    spread: float = 0.1


@dataclass(frozen=True)
class Outcome:
    """Time and losses of a run.

    Attributes:
        seconds: until the last unit is done.
        failures: their number.
        repeated: seconds of work that were lost, of all nodes together.
        waited: seconds that nodes had nothing to do at the end, together.
    """

    seconds: float
    failures: int
    repeated: float
    waited: float


def repeated_work(unit: float, between: float) -> float:
    """Return the mean seconds that failures cost for each unit: ``between (exp(unit / between) - 1) - unit``.

    Failures come at random with a constant rate. For short units this is ``unit / between`` failures that lose half a unit each.

    Args:
        unit: seconds of a unit.
        between: mean seconds between two failures of a node.
    """
    return between * math.expm1(unit / between) - unit


def simulate(units: int, unit: float, nodes: int, conditions: Conditions = Conditions(), seed: int = 0) -> Outcome:
    """Return what a run takes.

    Args:
        units: their number.
        unit: mean seconds of a unit on a node that is not slow.
        nodes: their number. With several, at least one of them is slow if `conditions.slow` is not 0.
        conditions: rates of failures and slowness.
        seed: of the random numbers.

    Raises:
        ValueError: a unit takes too long to be ever finished.
    """
    nodes, between = min(nodes, units), 3600 * conditions.hours
    factors = np.ones((nodes, 1))
    factors[: math.ceil(conditions.slow * nodes) if nodes > 1 else 0] = conditions.slowness
    if unit * conditions.slowness > MAX_ATTEMPT * between:
        raise ValueError(f"a unit of {unit:.0f} s is hardly ever finished with a failure every {between:.0f} s")
    columns = math.ceil(1.5 * units / nodes) + 8
    while True:
        random = np.random.default_rng(seed)
        work = unit * factors * np.exp(conditions.spread * random.standard_normal((nodes, columns)) - conditions.spread**2 / 2)
        failures = random.geometric(np.exp(-work / between)) - 1
        lost = _lost(work, failures, between, random)
        ends = np.cumsum(work + lost + failures * conditions.restart, axis=1)
        starts = np.concatenate([np.zeros((nodes, 1)), ends[:, :-1]], axis=1)
        first = np.argpartition(starts, units - 1, axis=None)[:units]
        if starts.flat[first].max() <= ends[:, -1].min():
            break
        columns *= 2  # a node would have taken more units than were drawn for it
    taken = np.zeros(starts.shape, bool)
    taken.flat[first] = True
    finished = np.where(taken, ends, 0.0).max(axis=1)
    seconds = float(finished.max())
    return Outcome(seconds, int(failures[taken].sum()), float(lost[taken].sum()), float((seconds - finished).sum()))


def _lost(work: np.ndarray, failures: np.ndarray, between: float, random: np.random.Generator) -> np.ndarray:
    """Return the seconds of the failed attempts of each unit. A failure is as likely at any moment of an attempt."""
    each = np.repeat(work.ravel(), failures.ravel())
    moments = -between * np.log1p(random.random(each.size) * np.expm1(-each / between))  # of an exponential below `each`
    unit = np.repeat(np.arange(work.size), failures.ravel())
    return np.bincount(unit, moments, work.size).reshape(work.shape)
