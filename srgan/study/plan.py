"""The plan of a study: which pictures are compared, in which order and on which side."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """Two models on one image.

    Attributes:
        image: name of the image.
        first: label of a model.
        second: label of another model.
    """

    image: str
    first: str
    second: str


def choose_comparisons(images: Sequence[str], models: Sequence[str], count: int, random: np.random.Generator) -> list[Comparison]:
    """Return different comparisons that spread evenly over the images and over the pairs of models.

    Each image is used once before an image is used again, because results on many images hold for other images too.

    Args:
        images: names.
        models: labels, at least two.
        count: number of comparisons. If there are fewer different ones, all are returned.
        random: source of the order.
    """
    pairs = list(itertools.combinations(models, 2))
    order = [images[at] for at in random.permutation(len(images))]
    start = int(random.integers(len(pairs)))
    chosen = []
    for number in range(min(count, len(images) * len(pairs))):
        turn, at = divmod(number, len(images))
        # Within a turn the pairs take their turns too. The next turn gives each image its next pair.
        chosen.append(Comparison(order[at], *pairs[(start + at + turn) % len(pairs)]))
    return chosen


def order_for_rater(comparisons: int, checks: int, random: np.random.Generator) -> list[tuple[int, bool]]:
    """Return the order of a rater's trials and their sides.

    Args:
        comparisons: their number. They are the first trials.
        checks: number of attention checks, the further trials.
        random: source of order and sides.

    Returns:
        The index of each trial, and True if its second picture is on the left. That is so for half of the comparisons and for half of
        the checks, so that a rater who always chooses one side fails half of the checks.
    """
    swapped = [bool(number % 2) for count in (comparisons, checks) for number in random.permutation(count)]
    return [(int(index), swapped[index]) for index in random.permutation(comparisons + checks)]
