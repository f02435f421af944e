"""One kernel for all parameters of a network where PyTorch starts one for each.

A GPU computes a step of a small batch faster than Python starts its kernels (docs/speed.md). Hundreds of them only cast weights to the
compute type, cast gradients back, or count batches.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

# Layers whose weights autocast casts, and their functions. Only autocast on CUDA casts the slopes of PReLU.
LAYERS: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
FUNCTIONS = {torch.conv2d, torch.conv_transpose2d, functional.linear}

Forward = Callable[[Tensor], Any]


class BatchedKernels(TorchFunctionMode):
    """Replaces the casts of autocast and the counters of batch normalization in the forward passes of a network.

    The values and gradients are those without this class, bit for bit. A function that autocast leaves in float32 still gets the float32
    weights.

    Args:
        model: the network, on its device and with its layers frozen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        self.functions = FUNCTIONS | {torch.prelu} if on_gpu else FUNCTIONS
        layers = (*LAYERS, nn.PReLU) if on_gpu else LAYERS
        own = [weight for layer in model.modules() if isinstance(layer, layers) for weight in layer.parameters(recurse=False)]
        self.weights = [weight for weight in dict.fromkeys(own) if weight.requires_grad and weight.dtype is torch.float32]
        norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.num_batches_tracked is not None]
        self.counters = {id(layer.num_batches_tracked): layer.num_batches_tracked for layer in norms}
        self.device_type = "cuda" if on_gpu else "cpu"
        self.active = False
        self.casts: dict[int, Tensor] = {}  # by the identity of the weight
        self.counts: Counter[int] = Counter()  # by the identity of the counter

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Return a context whose forward passes share their casts, as they do within one context of autocast."""
        self.active = True
        try:
            yield
        finally:
            self.active, self.casts = False, {}
            if self.counts:
                torch._foreach_add_([self.counters[number] for number in self.counts], list(self.counts.values()))
                self.counts.clear()

    def within(self, forward: Forward) -> Forward:
        """Return a forward pass of the network with batched kernels. Outside of `shared` it is the usual one."""

        def batched(image: Tensor) -> Any:
            if not self.active:
                return forward(image)
            with self:
                return forward(image)

        return batched

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call a function of PyTorch with other weights, or count a batch."""
        if func in self.functions and torch.is_autocast_enabled(self.device_type):
            if not self.casts:
                copies = _Cast.apply(torch.get_autocast_dtype(self.device_type), *self.weights) if self.weights else ()
                self.casts = dict(zip(map(id, self.weights), copies, strict=True))
            args = [self.casts.get(id(value), value) for value in args]
        elif func is torch.Tensor.add_ and id(args[0]) in self.counters:
            self.counts[id(args[0])] += args[1]
            return args[0]
        return func(*args, **(kwargs or {}))


class _Cast(torch.autograd.Function):
    """Copies of tensors in another data type: one kernel in each direction."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = values[0].dtype
        return tuple(_cast(values, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        casts = iter(_cast([gradient for gradient in gradients if gradient is not None], ctx.dtype))
        return None, *(None if gradient is None else next(casts) for gradient in gradients)


def _cast(values: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    copies = [torch.empty_like(value, dtype=dtype) for value in values]
    torch._foreach_copy_(copies, list(values))
    return copies
