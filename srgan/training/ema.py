"""The exponential moving average of a network, which is validated and exported."""

import copy
import itertools

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a network whose parameters and buffers are exponential moving averages.

    The keys of the state dict and the values of floating-point tensors equal those of `torch.optim.swa_utils.AveragedModel` with
    `get_ema_multi_avg_fn` and `use_buffers`. That class copies its counter to the device in each update and waits. This class never waits.

    The statistics of batch normalization are averaged as well, because those of the last batches fit other weights. Integers are counters
    or tables of positions. They are copied, because the average of equal integers can be less than them: it is rounded down.

    Args:
        model: the network, on its device.
        decay: of the average per update. 0: the copy equals the network.
        switch_every: updates between two copies of the averages into the network, which then trains from them (Switch EMA: Li et al.
            2024, https://arxiv.org/abs/2402.09240). 0: never.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float, switch_every: int = 0) -> None:
        super().__init__()
        self.module = copy.deepcopy(model).eval()  # a loss may run it in a training step, which must not change its statistics
        self.decay, self.switch_every = decay, switch_every
        self.register_buffer("n_averaged", torch.tensor(0))  # number of updates, on the host
        self.begun = False  # whether that number is above 0
        self.register_load_state_dict_post_hook(_restore_begun)
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for average, value in zip(_tensors(self.module), _tensors(model), strict=True):
            ours, theirs = groups.setdefault(value.dtype, ([], []))
            ours.append(average)
            theirs.append(value)
        self._groups = list(groups.values())

    @torch.no_grad()
    def update(self) -> None:
        """Add the present values of the network to the average, on the device. The caller then calls `finish_step`.

        The first update copies them.
        """
        for ours, theirs in self._groups:
            if self.begun and ours[0].is_floating_point():
                torch._foreach_lerp_(ours, theirs, 1 - self.decay)
            else:
                torch._foreach_copy_(ours, theirs)
        self.begun = True

    @torch.no_grad()
    def finish_step(self) -> None:
        """Count the update, and copy the averages into the network if it is time. A CUDA graph does not contain this."""
        self.n_averaged += 1
        if self.switch_every and int(self.n_averaged) % self.switch_every == 0:
            for ours, theirs in self._groups:
                torch._foreach_copy_(theirs, ours)


def _tensors(model: nn.Module) -> itertools.chain[Tensor]:
    return itertools.chain(model.parameters(), model.buffers())


def _restore_begun(average: MovingAverage, _: object) -> None:
    average.begun = bool(average.n_averaged)
