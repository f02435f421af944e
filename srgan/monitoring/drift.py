"""Drift: the images of a service against those of the training.

The values of a figure are tested in blocks of 25, 100 and 400 images that do not overlap, so that each image is looked at once at each
size. A block raises an alarm if chance does not explain it (two-sample test of Kolmogorov and Smirnov) and if it matters (population
stability index).

A stream has no end, so a level for each test would give a false alarm sooner or later. What is limited is the mean number of false
alarms for an image: `FALSE_ALARMS`. Each pair of a figure and a block size gets an equal part of it, and a block of n images gets n times
the level of one image. The sum over all tests holds for any dependence of figures and blocks (Bonferroni).
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BLOCKS = (25, 100, 400)  # images: small blocks find large changes soon, large ones find small changes
FALSE_ALARMS = 1e-6  # for an image, in the mean
MIN_PSI = 0.25  # from which a population counts as another one (Siddiqi 2006, "Credit Risk Scorecards")
BINS = 10


@dataclass(frozen=True)
class Look:
    """The test of one block.

    Attributes:
        figure: that was tested.
        count: images of the block.
        distance: largest difference of the distribution functions, 0..1.
        p: probability of such a distance by chance.
        psi: population stability index.
        alarm: the block differs.
        before: median of the training images.
        now: median of the block.
    """

    figure: str
    count: int
    distance: float
    p: float
    psi: float
    alarm: bool
    before: float
    now: float

    def as_json(self) -> str:
        """Return the numbers for the log, as JSON."""
        return json.dumps({name: value for name, value in dataclasses.asdict(self).items() if name not in ("figure", "alarm")})


def psi(reference: np.ndarray, values: np.ndarray) -> float:
    """Return the population stability index of values `(n,)` against a reference `(m,)`, over its tenths.

    Half an image is added to each bin, so that an empty one has a logarithm. Values of few images give an index above 0 by chance.
    """
    cuts, repeats = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]), return_counts=True)
    # A value that fills more than a tenth, such as the quality of images without a compression, has a bin of its own.
    edges = np.sort(np.concatenate([cuts, np.nextafter(cuts[repeats > 1], np.inf)]))
    counts = np.array([np.bincount(np.searchsorted(edges, one, "right"), minlength=len(edges) + 1) for one in (reference, values)])
    counts = counts[:, counts.any(axis=0)] + 0.5
    expected, found = counts / counts.sum(axis=1, keepdims=True)
    return float(((found - expected) * np.log(found / expected)).sum())


def look(figure: str, reference: np.ndarray, values: np.ndarray, level: float) -> Look:
    """Test a block of values.

    Args:
        figure: name of the figure.
        reference: values of the training images, `(m,)`.
        values: of the block, `(n,)`.
        level: probability of a false alarm.
    """
    test = stats.ks_2samp(reference, values)
    index = psi(reference, values)
    alarm = bool(test.pvalue < level and index >= MIN_PSI)
    medians = float(np.median(reference)), float(np.median(values))
    return Look(figure, len(values), float(test.statistic), float(test.pvalue), index, alarm, *medians)


class Drift:
    """Test a stream of images.

    Args:
        reference: values of each figure of the training images. Missing ones are left out.
    """

    def __init__(self, reference: Mapping[str, Sequence[float | None]]) -> None:
        values = {figure: _known(column) for figure, column in reference.items()}
        self._reference = {figure: column for figure, column in values.items() if len(column)}
        self._blocks: dict[tuple[str, int], list[float]] = {(figure, size): [] for figure in self._reference for size in BLOCKS}
        self.level = FALSE_ALARMS / max(len(self._blocks), 1)  # for an image of a figure and a size

    def add(self, figures: Mapping[str, float | None]) -> list[Look]:
        """Take the figures of an image. Return the tests of the blocks that it completes."""
        looks = []
        for (figure, size), block in self._blocks.items():
            value = figures.get(figure)
            if value is not None:
                block.append(value)
            if len(block) == size:
                looks.append(look(figure, self._reference[figure], np.array(block), size * self.level))
                block.clear()
        return looks


class Alarms:
    """The figures that differ now. An alarm ends when a block of the size that raised it, or a larger one, is normal."""

    def __init__(self, raised: Mapping[str, int] | None = None) -> None:
        self.raised = dict(raised or {})  # size of the block by figure

    def update(self, looks: Sequence[Look]) -> tuple[list[Look], list[Look]]:
        """Return the looks that begin an alarm and those that end one."""
        begun, ended = [], []
        for found in looks:
            size = self.raised.get(found.figure)
            if found.alarm and size is None:
                self.raised[found.figure] = found.count
                begun.append(found)
            elif size is not None and not found.alarm and found.count >= size:
                del self.raised[found.figure]
                ended.append(found)
        return begun, ended


def _known(values: Sequence[float | None]) -> np.ndarray:
    numbers = np.array([math.nan if value is None else value for value in values], float)
    return numbers[~np.isnan(numbers)]
