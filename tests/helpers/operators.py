"""A record of the operators of a training step, which are the kernels that a GPU would start."""

import traceback
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WITHOUT_KERNEL = {  # and views
    aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default, aten.new_empty_strided.default,
    aten.detach.default, aten.lift_fresh.default, aten._unsafe_view.default, aten._reshape_alias.default, aten.set_.source_Tensor,
    torch.ops.prim.device.default,
}  # fmt: skip
READS = {aten._local_scalar_dense.default, aten.equal.default}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
DYNAMIC = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}


class Record(TorchDispatchMode):
    """Counts the operators of the block that start a kernel, and finds those whose values the host needs.

    Args:
        frozen: parameters whose casts are counted.
        device: of the counted operators. Others prepare numbers on the host.

    Attributes:
        operators: their number by name.
        waits: name and line of each operator for which the host of a GPU would wait.
        frozen_casts: number of casts of frozen parameters.
        convolutions: types in which convolutions compute.
    """

    def __init__(self, frozen: Iterable[nn.Parameter] = (), device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.operators: Counter[str] = Counter()
        self.waits: list[str] = []
        self.frozen_casts = 0
        self.convolutions: set[str] = set()
        self._frozen = {id(parameter) for parameter in frozen}

    @property
    def count(self) -> int:
        return self.operators.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _result_depends_on_values(func, args) or _waits_for_copy(func, args, kwargs or {}):
            self.waits.append(f"{func} {_place()}")
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func not in WITHOUT_KERNEL and self.device in _devices((args, result)):
            self.operators[str(func)] += 1
            self.frozen_casts += func is aten._to_copy.default and id(args[0]) in self._frozen
        if func is aten.convolution.default:
            self.convolutions.add(str(result.dtype))
        return result


def _result_depends_on_values(func: Any, args: Any) -> bool:
    """Return whether the host needs values, as the result or for its shape."""
    if func.overloadpacket in INDEXING:
        return any(index is not None and index.dtype is torch.bool for index in tree_leaves(args[1]))
    return func in READS or bool(DYNAMIC & set(func.tags))


def _waits_for_copy(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether an operator copies from one device to another and the host waits until it is done."""
    if func is aten._to_copy.default:
        target, non_blocking = torch.device(kwargs.get("device") or args[0].device), kwargs.get("non_blocking", False)
        return target.type != args[0].device.type and not non_blocking
    if func is aten.copy_.default:
        return args[0].device.type != args[1].device.type and not (len(args) > 2 and args[2])
    return False


def _devices(values: Any) -> set[str]:
    return {value.device.type for value in tree_leaves(values) if isinstance(value, torch.Tensor)}


def _place() -> str:
    """Return the line of the project that called the operator."""
    found = [frame for frame in traceback.extract_stack() if "/srgan/" in frame.filename]
    return f"{found[-1].filename}:{found[-1].lineno}" if found else "in the backward pass"
