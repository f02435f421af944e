"""A network and what it learns with."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from srgan.distributed import process_group

BETAS = (0.9, 0.99)  # Adam's, as in ESRGAN's released training code


class Learner:
    """A network's optimiser, with a gradient scaler of its own.

    Args:
        model: the network, on its device.
        peak: its highest learning rate.
        parts: that a batch is worked through in.
        dtype: that its convolutions compute in.
        compiled: whether `torch.compile` translates its passes.
    """

    def __init__(self, model: nn.Module, peak: float, parts: int, dtype: torch.dtype, compiled: bool = False) -> None:
        self.peak, self.parts = peak, parts
        self.shared = process_group.parallel(model)
        self.run = torch.compile(self.shared) if compiled else self.shared  # the network, to be called in a step
        self.weights = list(model.parameters())
        self.optimizer = torch.optim.Adam(self.weights, lr=peak, betas=BETAS, fused=True)
        self.scaler = torch.amp.GradScaler(self.weights[0].device.type, enabled=dtype is torch.float16)

    def start(self, rate: float) -> None:
        """Begin a step with this learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)

    def part(self, last: bool) -> AbstractContextManager[Any]:
        """To be entered around the passes of a part of the batch: processes exchange gradients in the last one alone."""
        return nullcontext() if last or process_group.size() == 1 else self.shared.no_sync()

    def learn(self, loss: Tensor, keep_graph: bool = False) -> None:
        """Add a loss's gradient, for this network's weights and no others."""
        self.scaler.scale(loss / self.parts).backward(inputs=self.weights, retain_graph=keep_graph)

    def finish(self, clip: float) -> Tensor:
        """Update the weights. Returns the gradient's norm before clipping; 0 if nothing was learnt, or float16 overflowed."""
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.weights[0].device)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        if clip:
            torch.nn.utils.clip_grads_with_norm_(self.weights, clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.where(torch.isfinite(norm), norm, 0.0) if self.scaler.is_enabled() else norm

    def state_dict(self) -> dict[str, Any]:
        """Of the optimiser and the scaler; the network's own is the network's."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
