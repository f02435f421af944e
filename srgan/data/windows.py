"""Draw the patches of a large store from a few shards at a time, which slide over the store in a random order."""

from functools import lru_cache

import numpy as np

STREAM = 7  # of random numbers, see `srgan.data.sampler`
DRAWN = 0.25  # share of the area of a shard that is drawn before the next shard takes the place of another
AHEAD = 2  # shards that are fetched before they are used


class Windows:
    """The shards of each step, as a pure function of the seed and the step.

    The shards follow each other in a random order, and in another one after the last. Each step of a window's length moves the window by
    one shard. So every shard is in use equally long.

    Args:
        shards: numbers of the shards.
        width: shards in use at a time. 0 or at least their number means all of them.
        steps: from a window to the next.
        seed: of the order.
    """

    def __init__(self, shards: np.ndarray, width: int, steps: int, seed: int) -> None:
        self._shards, self.steps, self.seed = shards, steps, seed
        self.moves = 0 < width < len(shards)
        self.width = width if self.moves else len(shards)

    def number(self, step: int) -> int:
        """Return the number of the window of a step."""
        return step // self.steps if self.moves else 0

    def shards(self, number: int) -> np.ndarray:
        """Return the shards of a window in ascending order."""
        return np.unique(self._between(number, number + self.width)) if self.moves else self._shards

    def ahead(self, number: int) -> np.ndarray:
        """Return the shards that follow a window, in their order."""
        return self._between(number + self.width, number + self.width + AHEAD) if self.moves else self._shards[:0]

    def _between(self, first: int, end: int) -> np.ndarray:
        return np.array([self._order(place // len(self._shards))[place % len(self._shards)] for place in range(first, end)])

    @lru_cache(maxsize=4)  # noqa: B019 - there is one object in a training
    def _order(self, turn: int) -> np.ndarray:
        return np.random.default_rng((self.seed, turn, STREAM)).permutation(self._shards)


def steps_of_a_window(area: float, patches: int, side: int) -> int:
    """Return the steps after which a window moves.

    Args:
        area: mean HR pixels of a shard.
        patches: of a step, of all processes.
        side: of the largest patches in pixels.
    """
    return max(1, round(DRAWN * area / (patches * side**2)))
