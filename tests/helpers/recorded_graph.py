"""A stand-in for CUDA graphs on a CPU, with the same rules: a capture changes nothing, and a replay repeats operators, not Python code."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

Operator = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class RecordedGraphs:
    """Has the methods of `srgan.training.cuda_graph.CudaGraphs`."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def run(self, function: Callable[[], Any]) -> Any:
        return function()

    def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.captures += 1
        recorder = _Recorder()
        with recorder:
            result = function()
        recorder.undo()

        def replay() -> None:
            self.replays += 1
            recorder.replay()

        return replay, result


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # address -> a tensor of the state and its former values
        self.own: dict[int, torch.Tensor] = {}  # address -> a tensor of the capture, which stays alive like the memory of a graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        assert func is not torch.ops.aten._local_scalar_dense.default, "the step reads a number from the device"
        for value in _written(func, args, kwargs):
            if _address(value) not in self.own and _address(value) not in self.before:
                whole = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
                self.before[_address(value)] = whole, whole.clone()
        result = func(*args, **kwargs)
        known = {_address(value) for value in _tensors((args, kwargs))}
        for value in _tensors(result):
            if _address(value) not in known:
                self.own.setdefault(_address(value), value)
        self.operators.append((func, args, kwargs, result))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        for whole, former in self.before.values():
            whole.copy_(former)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.operators:
            inputs = {_address(value) for value in _tensors((args, kwargs))}
            new = func(*args, **kwargs)
            for old, value in zip(_tensors(result), _tensors(new), strict=True):
                if _address(old) not in inputs:  # neither a view nor an operator in place
                    old.detach().copy_(value)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _tensors(args[number] if number < len(args) else kwargs.get(argument.name))
    if func is torch.ops.aten.native_batch_norm.default:  # its schema leaves out that it writes the running statistics
        found += _tensors(args[3:5])
    return found


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_iter(values) if isinstance(value, torch.Tensor)]


def _address(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()
