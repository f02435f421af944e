"""`torch.compile` for the networks of a training step: the generator, the discriminator and the networks of perceptual losses."""

import logging
from typing import Any

import torch
from torch import nn
from torch._functorch import config
from torch.utils._triton import has_triton

from srgan.config.training import Optimization, StageRuntime
from srgan.distributed import process_group

LONG = 50_000  # steps of a stage. In fewer ones compiled networks save less time than the compiler takes (an estimate: docs/speed.md)

log = logging.getLogger(__name__)


def compiles(device: torch.device, options: Optimization, runtime: StageRuntime) -> bool:
    """Return whether a stage compiles its networks. A missing compiler is logged."""
    if runtime.compile != "auto":
        return runtime.compile == "on"
    if device.type != "cuda" or process_group.size() > 1 or options.steps < LONG:
        return False
    if not has_triton():
        log.info("compile: not used, because Triton is missing or does not support this GPU")
        return False
    return True


def compiled(network: nn.Module) -> Any:
    """Return a network as compiled code, for the shapes of its first call. Other shapes are compiled when they come."""
    # Two losses flow back through the discriminator. The first pass must leave the tensors of the forward pass to the second.
    config.donated_buffer = False
    return torch.compile(network, dynamic=False)
