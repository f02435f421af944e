"""Steps that hold other steps."""

import itertools

from srgan.config.base import option
from srgan.config.choice import entry_of
from srgan.config.recipe import STEPS, StepOptions, Steps
from srgan.degradations.base import Degradation, Drawing


class CombinedOptions(StepOptions):
    """Several steps."""

    FLOW = False
    steps: Steps = option(..., "the steps inside", min_length=1)


def _in_order(options: CombinedOptions, state: Drawing) -> list[int]:
    return list(range(len(options.steps)))


def _shuffled(options: CombinedOptions, state: Drawing) -> list[int]:
    """Return a random order. Two steps of which one cannot follow the other change places (BSRGAN, section 3.4)."""
    order = state.draws.order(len(options.steps))
    names = [step.name for step in options.steps]
    for place, later in itertools.combinations(range(len(order)), 2):
        if entry_of(STEPS, names[order[later]]).problem(options.steps[order[later]], [names[order[place]]]):
            order[place], order[later] = order[later], order[place]
    return order


def _one(options: CombinedOptions, state: Drawing) -> list[int]:
    return [state.draws.integer(0, len(options.steps) - 1)]


SEQUENCE = Degradation("sequence", "Several steps in order, as one step of a shuffle.", CombinedOptions, arrange=_in_order)
SHUFFLE = Degradation("shuffle", "Several steps in random order (BSRGAN, Zhang et al. 2021).", CombinedOptions, arrange=_shuffled)
ONE_OF = Degradation("one_of", "One of several steps, each with the same probability.", CombinedOptions, arrange=_one)
