"""The proof at the start of a training that fast steps compute what usual steps compute.

Compiled networks and CUDA graphs change how a step runs. Their results differ by rounding alone. A step that takes a number of the host
as a constant, reads memory that was replaced or leaves out an update would train another network without an error.
"""

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from srgan.distributed import process_group
from srgan.training.cuda_graph import GraphedStep
from srgan.training.ema import MovingAverage
from srgan.training.figures import RunningSums
from srgan.training.optimization import OptimizedNetwork

STEPS = 10
ROUNDING = {torch.float32: 2.0**-12}  # relative rounding of a weight. Convolutions in float32 compute in TF32
HALF_ROUNDING = 2.0**-9  # in bf16
FACTOR = 3.0  # largest difference, in differences that rounding makes
FLOOR = 0.02  # difference that is always allowed: a few steps may hide how far rounding leads

log = logging.getLogger(__name__)


class Subject(Protocol):
    """The parts of `srgan.training.trainer.Trainer` that the proof needs."""

    options: Any
    dtype: torch.dtype
    compiled: bool
    graph: GraphedStep[Any] | None
    networks: dict[str, OptimizedNetwork]
    running_sums: RunningSums
    ema: MovingAverage

    def choose(self, compiled: bool, graph: GraphedStep[Any] | None) -> None:
        """Choose how the steps run."""

    def step(self, step: int) -> None:
        """Update every network once."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""


@dataclass(frozen=True)
class Run:
    """The results of some steps."""

    figures: dict[str, float]  # sums of the losses and of the norms of the gradients
    updates: dict[str, Tensor]  # change of all weights of each network and of the averages, flat

    def differences(self, other: "Run") -> dict[str, dict[str, float]]:
        """Return the relative differences from another run by kind: of the figures, the updates and their lengths."""
        pairs = [(f"update of the {name}", self.updates[name], update) for name, update in other.updates.items()]
        return {
            "figures": {key: abs(self.figures[key] - value) / max(abs(value), 1e-3) for key, value in other.figures.items()},
            "updates": {key: _ratio((ours - theirs).norm(), theirs.norm()) for key, ours, theirs in pairs},
            "lengths": {f"length of the {key}": _ratio((ours.norm() - theirs.norm()).abs(), theirs.norm()) for key, ours, theirs in pairs},
        }


def prove(subject: Subject, done: int) -> None:
    """Run the next steps as usual and fast from the same state. Keep the fastest way that agrees, and restore the state.

    The measure is a second usual run from weights that are rounded otherwise. A fast run may differ a few times as much.

    Args:
        subject: the trainer, which is set to the ways that it may use.
        done: steps that are done.
    """
    graph = subject.graph
    ways = dict.fromkeys(way for way in ((subject.compiled, graph), (False, graph)) if any(way))
    numbers = range(done + 1, min(done + STEPS, subject.options.steps) + 1)
    if not ways or not numbers or process_group.size() > 1:
        return
    start = copy.deepcopy(subject.state_dict())
    subject.choose(False, None)
    usual = _run(subject, numbers, start)
    noise = _run(subject, numbers, start, ROUNDING.get(subject.dtype, HALF_ROUNDING))
    for compiled, graph in ways:
        name = " with ".join(filter(None, ["cuda_graph" if graph else "", "compile" if compiled else ""]))
        subject.choose(compiled, graph)
        if graph:
            graph.failed = False
        try:
            reason = _difference(_run(subject, numbers, start), usual, noise)
        except Exception as error:  # of any compiler
            reason = f"its steps failed: {(str(error).splitlines() or [type(error).__name__])[0]}"
        if not reason and not (graph and graph.failed):  # which is logged
            log.info("%s: the first %d steps equal usual ones within rounding", name, len(numbers))
            break
        if reason:
            log.warning("%s: not used, because %s", name, reason)
    else:
        subject.choose(False, None)
    subject.load_state_dict(start)


def _difference(fast: Run, usual: Run, noise: Run) -> str:
    """Return the first difference that rounding does not explain, in words. Empty: there is none."""
    measure = noise.differences(usual)
    for kind, found in fast.differences(usual).items():
        allowed = FACTOR * max(measure[kind].values()) + FLOOR
        for key, difference in found.items():
            if not difference <= allowed:  # also if it is not a number
                return f"{key} differs by {difference:.1%} from usual steps, and rounding explains {allowed:.1%}"
    return ""


def _run(subject: Subject, numbers: Iterable[int], start: Mapping[str, Any], rounding: float = 0.0) -> Run:
    """Run steps from a state. With `rounding` the weights change by this share first, up or down."""
    subject.load_state_dict(copy.deepcopy(dict(start)))
    subject.running_sums.clear()
    if rounding:
        _round(subject, rounding)
    before = _weights(subject)
    for number in numbers:
        subject.step(number)
    sums = {key: value for key, value in subject.running_sums.items() if key.startswith(("loss", "gradient"))}
    figures = dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))
    return Run(figures, {name: after - before[name] for name, after in _weights(subject).items()})


def _models(subject: Subject) -> dict[str, nn.Module]:
    return {name: network.parallel for name, network in subject.networks.items()} | {"average": subject.ema.module}


def _weights(subject: Subject) -> dict[str, Tensor]:
    models = _models(subject).items()
    return {name: torch.cat([value.detach().flatten() for value in model.parameters()]) for name, model in models}


@torch.no_grad()
def _round(subject: Subject, share: float) -> None:
    """Change each weight by a share, up or down. The averages change like the weights."""
    for model in _models(subject).values():
        random = torch.Generator().manual_seed(0)
        for value in model.parameters():
            value.mul_(1 + share * (2 * torch.randint(2, value.shape, generator=random) - 1).to(value.device))


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole.clamp(min=1e-12))
