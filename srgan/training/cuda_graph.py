"""A training step as one CUDA graph: its kernels are recorded once and then started together.

A step of a small batch consists of hundreds of short kernels, which Python starts more slowly than a large GPU runs them (docs/speed.md).
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from srgan.config.optimizers import EXTRA
from srgan.config.training import Optimization, StageRuntime, Train
from srgan.distributed import process_group

WARMUP_STEPS = 3  # usual steps before the capture, in which cuDNN chooses its algorithms and Adam allocates its state

Result = TypeVar("Result")
Replay = Callable[[], None]

log = logging.getLogger(__name__)


class CudaGraphs:
    """Runs and captures functions on a stream of its own, on which CUDA allows a capture."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def run(self, function: Callable[[], Result]) -> Result:
        """Return the result of a function. Its kernels run after all earlier ones and before all later ones."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def capture(self, function: Callable[[], Result]) -> tuple[Replay, Result]:
        """Record the kernels of a function without running them.

        Returns:
            A function that runs the kernels, and the result, whose tensors each run overwrites.
        """
        current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        try:
            # Other threads allocate page-locked memory for the next batches, which the default mode forbids.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                result = function()
        finally:
            torch.cuda.set_stream(current)  # a failed capture does not leave its stream
        return graph.replay, result


class GraphedStep(Generic[Result]):
    """Calls a function of batches a few times as usual, then captures it and replays the capture.

    The function must update its state in place, never wait for the device, and take everything that changes from step to step from tensors
    that stay the same objects. Numbers of Python are constants of the capture.

    Args:
        function: takes the HR and LR batch and other tensors that change from step to step, and returns tensors. A replay overwrites the
            tensors. Batches of other shapes get a capture of their own, which replaces the former one.
        graphs: runs and captures functions.
    """

    def __init__(self, function: Callable[..., Result], graphs: CudaGraphs) -> None:
        self.function, self.graphs, self.failed = function, graphs, False
        self.forget()

    def forget(self) -> None:
        """Drop the capture. Call this after the state was replaced by other tensors."""
        self.warmup = WARMUP_STEPS
        self.captured: tuple[Replay, Result, list[Tensor]] | None = None

    def __call__(self, *batch: Tensor, **exception: Any) -> Result:
        """Return the result of the function, or its equal from a replay. A step with an exception to the rule runs as usual."""
        if exception:
            return self.graphs.run(lambda: self.function(*batch, **exception))
        if self.captured and self.captured[2][0].shape != batch[0].shape:
            self.forget()
        if self.warmup or self.failed:
            self.warmup = max(self.warmup - 1, 0)
            return self.graphs.run(lambda: self.function(*batch))
        if self.captured is None:
            inputs = [each.clone() for each in batch]
            try:
                self.captured = *self.graphs.capture(lambda: self.function(*inputs)), inputs
            except RuntimeError as error:  # also too little memory: a graph needs its own
                self.failed = True
                log.warning("cuda_graph: the steps run without a graph, because the capture failed: %s", str(error).splitlines()[0])
                return self(*batch)
        replay, result, inputs = self.captured
        torch._foreach_copy_(inputs, list(batch))
        replay()
        return result


def graphed_step(
    function: Callable[..., Result], device: torch.device, options: Optimization, runtime: StageRuntime
) -> GraphedStep[Result] | None:
    """Return the function as a CUDA graph. None on a CPU, if ``cuda_graph`` is off, or if it cannot be used, which is logged."""
    if runtime.cuda_graph == "off":
        return None
    if reason := obstacle(device, options):
        if device.type == "cuda":
            log.info("cuda_graph: not used, because %s", reason)
        return None
    return GraphedStep(function, CudaGraphs())


def obstacle(device: torch.device, options: Optimization) -> str:
    """Return why a stage cannot use CUDA graphs. Empty: it can."""
    reasons = {
        "it needs a CUDA device": device.type != "cuda",
        "it needs a single process": process_group.size() > 1,
        f"the optimizer {options.optimizer.name} counts its steps outside of the device": options.optimizer.name in EXTRA,
        "each step has a gradient penalty (stabilization.penalty_every: 1)": isinstance(options, Train)
        and options.stabilization.penalty_every == 1
        and bool(options.stabilization.r1 or options.stabilization.r2),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")
