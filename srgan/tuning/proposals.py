"""The parameters of the next trial. They depend on the study file, the number of the trial and the trials before it alone."""

import logging
import random
import warnings
from typing import Any, Literal

import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from srgan.tuning import space
from srgan.tuning.space import Values
from srgan.tuning.study_file import Definition

RANDOM_TRIALS = 5  # before the sampler tpe learns from the results
REDUCTION = 3  # Hyperband keeps the best third

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("optuna").setLevel(logging.WARNING)


def directions(definition: Definition) -> list[Literal["minimize", "maximize"]]:
    """Return the direction of each objective, for Optuna."""
    first: Literal["minimize", "maximize"] = "minimize" if definition.options.objective == "lpips" else "maximize"
    return [first, "minimize"] if definition.options.cost else [first]


def limit(definition: Definition) -> int:
    """Return the number of trials of a study. A grid may have fewer than the file allows."""
    options = definition.options
    return min(options.trials, len(_grid(definition)) + 1) if options.sampler == "grid" else options.trials


def propose(definition: Definition, history: list[FrozenTrial]) -> Values:
    """Return the values of the next trial, encoded for Optuna.

    The sampler gets a seed for each trial instead of one for the study. So a process that continues a study proposes what the killed one
    would have proposed.

    Args:
        definition: the study.
        history: all trials so far, by their numbers.
    """
    number, options = len(history), definition.options
    if options.sampler == "grid":
        return _grid(definition)[number - 1]
    seed = (options.seed + 1) * 100_003 + number
    study = optuna.create_study(directions=directions(definition), sampler=_sampler(options.sampler, seed))
    study.add_trials(history)
    trial = study.ask({name: dimension.distribution for name, dimension in definition.space.items()})
    return {name: _rounded(definition.space[name], value) for name, value in trial.params.items()}


def _sampler(name: str, seed: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():  # `multivariate` may change in a later version
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True)


def _rounded(dimension: space.Dimension, value: Any) -> Any:
    return dimension.rounded(value) if isinstance(dimension, space.Range) else value


def _grid(definition: Definition) -> list[Values]:
    """Return the cells in a random order, without that of the base parameters, which is the first trial."""
    base = space.encoded(definition.space, definition.base)
    found = [cell for cell in space.cells(definition.space) if cell != base]
    random.Random(definition.options.seed).shuffle(found)
    return found


def pruner(definition: Definition) -> HyperbandPruner:
    """Return the pruner, whose resource is the number of validations."""
    return HyperbandPruner(min_resource=1, max_resource=max(definition.options.validations, 1), reduction_factor=REDUCTION)
