"""A network together with its optimizer and its gradient scaler."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from srgan.distributed import process_group

BETAS = (0.9, 0.99)  # of Adam, as in the released training code of ESRGAN

# The steps before the capture of a CUDA graph run without it.
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")


class OptimizedNetwork:
    """A network with its optimizer and a gradient scaler of its own.

    `forward` is the network as a training step calls it: wrapped for several processes, and compiled if asked for.

    Args:
        model: the network, on its device.
        max_lr: the highest learning rate.
        accumulation: gradient accumulation steps.
        dtype: in which the convolutions compute.
        graphed: whether a CUDA graph contains the updates. It reads the learning rate from a tensor.
        compiled: whether `torch.compile` translates the network.
    """

    def __init__(
        self, model: nn.Module, max_lr: float, accumulation: int, dtype: torch.dtype, graphed: bool = False, compiled: bool = False
    ) -> None:
        self.max_lr, self.accumulation = max_lr, accumulation
        self.parallel = process_group.data_parallel(model)
        self.forward = torch.compile(self.parallel) if compiled else self.parallel
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=max_lr, betas=BETAS, fused=True)
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=dtype is torch.float16)
        self.learning_rate = max_lr
        self.rate = torch.tensor(max_lr, device=self.parameters[0].device) if graphed else None

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next updates."""
        self.learning_rate = learning_rate
        if self.rate is not None:
            self.rate.fill_(learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate if self.rate is None else self.rate
            group["capturable"] = self.rate is not None

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def accumulate(self, last: bool) -> AbstractContextManager[Any]:
        """Return a context for one gradient accumulation step. Processes exchange gradients in the last one only."""
        return nullcontext() if last or process_group.size() == 1 else self.parallel.no_sync()

    def backward(self, loss: Tensor, keep_graph: bool = False) -> None:
        """Add the gradient of a loss to the parameters of this network, and to no other tensor."""
        self.scaler.scale(loss / self.accumulation).backward(inputs=self.parameters, retain_graph=keep_graph)

    def finish_step(self, grad_clip: float) -> Tensor:
        """Update the parameters.

        Args:
            grad_clip: largest norm of the gradient. 0: no limit.

        Returns:
            The norm of the gradient before clipping. 0 without a gradient, and where float16 overflowed.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.parameters[0].device)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        if grad_clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.where(torch.isfinite(norm), norm, 0.0) if self.scaler.is_enabled() else norm

    def overflows(self) -> bool:
        """Return whether float16 overflowed in so many updates that the network no longer learns. Waits for the device."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the scaler. It is the same with and without a CUDA graph."""
        optimizer = self.optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group |= {"lr": self.learning_rate, "capturable": False}
        return {"optimizer": optimizer, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
