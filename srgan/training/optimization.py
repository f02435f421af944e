"""A network together with its optimizer and its gradient scaler."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from srgan.config.optimizers import Adam, Optimizer
from srgan.distributed import process_group
from srgan.training.batched_kernels import BatchedKernels
from srgan.training.compilation import compiled
from srgan.training.layers import freeze, rate_groups
from srgan.training.optimizers import COUNTERS, averages, create_optimizer, parameter_groups

# The steps before the capture of a CUDA graph run without it.
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")


class OptimizedNetwork:
    """A network with its optimizer and a gradient scaler of its own.

    `forward` is the network as a training step calls it: wrapped for several processes, and compiled after `compile`.

    Args:
        model: the network, on its device.
        max_lr: the highest learning rate.
        accumulation: gradient accumulation steps.
        dtype: in which the convolutions compute.
        graphed: whether a CUDA graph contains the updates. It reads the learning rates from tensors.
        frozen: layers that keep their weights, see `srgan.training.layers.freeze`.
        first_layer_rate: see `srgan.training.layers.rate_groups`.
        optimizer: see `srgan.training.optimizers.create_optimizer`. By default Adam.
        anchor: pull towards the present weights, see `_pull`.
    """

    def __init__(
        self,
        model: nn.Module,
        max_lr: float,
        accumulation: int,
        dtype: torch.dtype,
        graphed: bool = False,
        frozen: Sequence[str] = (),
        first_layer_rate: float = 1.0,
        optimizer: Optimizer | None = None,
        anchor: float = 0.0,
    ) -> None:
        self.max_lr, self.accumulation = max_lr, accumulation
        freeze(model, frozen)
        self.parallel = process_group.data_parallel(model)
        self.kernels = BatchedKernels(model)
        self.forward: Any = self.kernels.within(self.parallel)
        options = optimizer or Adam()
        groups = parameter_groups(options, model, rate_groups(model, first_layer_rate))
        self.factors = [factor for factor, _ in groups]
        self.parameters = [parameter for _, group in groups for parameter in group["params"]]
        self.optimizer = create_optimizer(options, model, [group for _, group in groups], max_lr)
        # A state counts all parameters of the network in their order, so that it fits other frozen layers and other groups.
        number = {parameter: index for index, parameter in enumerate(model.parameters())}
        self.numbers, self.count = [number[parameter] for parameter in self.parameters], len(number)
        self.anchor, self.start = anchor, [parameter.detach().clone() for parameter in self.parameters] if anchor else []
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=dtype is torch.float16)
        self.learning_rate = max_lr
        self.rates = [torch.tensor(max_lr, device=self.parameters[0].device) for _ in groups] if graphed else []

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next updates. Each group of layers gets its share of it."""
        self.learning_rate = learning_rate
        for index, (group, factor) in enumerate(zip(self.optimizer.param_groups, self.factors, strict=True)):
            group["lr"] = self.rates[index].fill_(learning_rate * factor) if self.rates else learning_rate * factor
            group["capturable"] = bool(self.rates)

    def compile(self, on: bool) -> None:
        """Choose whether `forward` is compiled code. `parallel` never is."""
        self.forward = compiled(self.parallel) if on else self.kernels.within(self.parallel)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def accumulate(self, last: bool) -> Iterator[None]:
        """Return a context for one gradient accumulation step. Processes exchange gradients in the last one only."""
        with self.kernels.shared(), nullcontext() if last or process_group.size() == 1 else self.parallel.no_sync():
            yield

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
        if self.anchor:
            self._pull()
        return torch.where(torch.isfinite(norm), norm, 0.0) if self.scaler.is_enabled() else norm

    @torch.no_grad()
    def _pull(self) -> None:
        """Move the weights towards those at the start by the share `anchor * learning rate` of their distance.

        It is the gradient step of half `anchor` times the squared distance, L2-SP (Xuhong et al. 2018, https://arxiv.org/abs/1802.01483,
        equation 4). As weight decay in AdamW, it does not pass through the optimizer, which would divide it by the size of the gradients.
        """
        distances = dict(zip(self.parameters, torch._foreach_sub(self.start, self.parameters), strict=True))
        for group in self.optimizer.param_groups:
            parameters = group["params"]
            torch._foreach_add_(parameters, torch._foreach_mul([distances[each] for each in parameters], self.anchor * group["lr"]))

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Return a context in which the parameters are those to validate: the averages of a schedule-free optimizer."""
        found = averages(self.optimizer, self.parameters)
        if found is None:
            yield
            return
        with torch.no_grad():
            trained = torch._foreach_clone(self.parameters)
            torch._foreach_copy_(self.parameters, found)
            yield
            torch._foreach_copy_(self.parameters, trained)

    def overflows(self) -> bool:
        """Return whether float16 overflowed in so many updates that the network no longer learns. Waits for the device."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the scaler.

        Its form is the same with and without a CUDA graph, and for any groups and frozen layers.
        """
        optimizer = self.optimizer.state_dict()
        group = optimizer["param_groups"][0] | {"lr": self.learning_rate, "capturable": False, "params": list(range(self.count))}
        state = {self.numbers[index]: value for index, value in optimizer["state"].items()}
        return {"optimizer": {"state": state, "param_groups": [group]}, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`. A layer that was frozen until then begins without moments of its gradients."""
        saved, (group,) = state["optimizer"]["state"], state["optimizer"]["param_groups"]
        counters = {key: group[key] for key in COUNTERS if key in group}
        groups = [own | counters for own in self.optimizer.state_dict()["param_groups"]]
        found = {index: saved[number] for index, number in enumerate(self.numbers) if number in saved}
        self.optimizer.load_state_dict({"state": found, "param_groups": groups})
        self.learning_rate = group["lr"]
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
