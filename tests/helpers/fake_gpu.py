"""A pretended CUDA device: tensors without memory, and a record of the operators that a GPU would run.

`FakeTensorMode` computes shapes, data types and devices. It raises if an operator gets tensors of two devices.
"""

import contextlib
import ctypes
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srgan.config.schema import Params
from srgan.data.sampler import GpuPatchSampler
from srgan.training import cuda_graph
from srgan.training import trainer as trainer_module
from srgan.training.trainer import Trainer
from srgan.tuning import estimate

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
WITHOUT_KERNEL = {  # and views
    aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default, aten.new_empty_strided.default,
    aten.detach.default, aten.lift_fresh.default, aten._unsafe_view.default, aten._reshape_alias.default, aten.set_.source_Tensor,
}  # fmt: skip
CASTS = {aten._to_copy.default}
COPIES = CASTS | {aten.copy_.default, aten._foreach_copy_.default}
READS = {aten._local_scalar_dense.default, aten.equal.default}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
DYNAMIC = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}


class SingleKernels:
    """Has the methods of `srgan.training.cuda_graph.CudaGraphs` and captures nothing."""

    def run(self, function: Callable[[], Any]) -> Any:
        return function()

    def capture(self, function: Callable[[], Any]) -> Any:
        raise RuntimeError("a pretended device has no graphs")


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """Let the trainers of the block believe in a GPU that supports bf16."""
    with pytest.MonkeyPatch.context() as patch, _pretended_library(), FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(trainer_module, "pick_device", lambda: DEVICE)
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
        patch.setattr(GpuPatchSampler, "fits", lambda *_: True)
        patch.setattr(cuda_graph, "CudaGraphs", SingleKernels)
        patch.setattr(_foreach_utils, "_foreach_supported_types", [torch.Tensor, nn.Parameter, FakeTensor])
        yield


@contextlib.contextmanager
def _pretended_library() -> Iterator[None]:
    """Let PyTorch run operators and backward passes of CUDA tensors without CUDA. It calls two tables of C++ functions.

    PyTorch replaces a guard of devices that counts no device by one that does nothing. Autograd asks whether CUDA is part of PyTorch.
    """
    if torch.cuda.is_available():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("the names of PyTorch's libraries are known for Linux")
    folder = Path(torch.__file__).parent / "lib"
    guards = (ctypes.c_void_p * 2).in_dll(ctypes.CDLL(str(folder / "libc10.so")), "_ZN3c104impl26device_guard_impl_registryE")  # CPU, CUDA
    get_hooks = ctypes.CDLL(str(folder / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    get_hooks.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(get_hooks())  # of an object: the address of its functions

    kind = ctypes.CFUNCTYPE(ctypes.c_long)
    no, yes = kind(lambda: 0), kind(lambda: 1)
    no_address, yes_address = (ctypes.cast(function, ctypes.c_void_p).value for function in (no, yes))
    table = (ctypes.c_void_p * 100)(*[no_address] * 100)  # more functions than a class has
    nothing = ctypes.c_void_p(ctypes.addressof(table))
    former = guards[1], hooks.value
    try:
        if not guards[1]:
            guards[1] = ctypes.addressof(nothing)
            torch._C._ensureCUDADeviceGuardSet()
        hooks.value = ctypes.addressof(table)
        for place in range(len(table)):  # the place of the function depends on the version of PyTorch
            table[place] = yes_address
            if torch._C._accelerator_getAccelerator() is not None:
                break
            table[place] = no_address
        yield
    finally:
        guards[1], hooks.value = former


def make_trainer(params: Params, stage: str) -> Trainer:
    """Return the trainer of a stage, inside `fake_gpu`, after the step in which the optimizers make their state."""
    trainer = estimate._trainer(params, stage)
    trainer.step(1)
    return trainer


class Record(TorchDispatchMode):
    """Counts the operators of the block that start a kernel, and finds those that wait for the device.

    Args:
        frozen: parameters whose casts are counted.

    Attributes:
        operators: their number by name.
        waits: name and line of each operator that waits.
        transfers: name and line of each operator with tensors of the host and of the device. A CUDA graph may contain none.
        frozen_casts: number of casts of frozen parameters.
    """

    def __init__(self, frozen: Iterable[nn.Parameter] = ()) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.waits: list[str] = []
        self.transfers: list[str] = []
        self.frozen_casts = 0
        self._frozen = {id(parameter) for parameter in frozen}

    @property
    def count(self) -> int:
        return self.operators.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        if any(value.is_cuda for value in inputs) and _result_depends_on_values(func, args):
            self.waits.append(f"{func} {_place()}")
            if func in READS:
                return 0
        result = func(*args, **kwargs)
        tensors = inputs + _tensors(result)
        if not any(value.is_cuda for value in tensors):
            return result
        # A number on the host is an argument of a kernel.
        if len({value.device.type for value in tensors if value.ndim or func in COPIES}) > 1:
            self.transfers.append(f"{func} {_place()}")
            in_background = kwargs.get("non_blocking") or (func is aten.copy_.default and args[2:] == (True,))
            if func not in COPIES or not in_background:
                self.waits.append(self.transfers[-1])
        if not func.is_view and func not in WITHOUT_KERNEL:
            self.operators[str(func)] += 1
            self.frozen_casts += func in CASTS and id(args[0]) in self._frozen
        return result


def _result_depends_on_values(func: Any, args: Any) -> bool:
    """Return whether the host needs values of the device, as the result or for its shape."""
    if func.overloadpacket in INDEXING:
        return any(index is not None and index.dtype is torch.bool for index in args[1])
    return func in READS or bool(DYNAMIC & set(func.tags))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _place() -> str:
    """Return the line of the project that called the operator."""
    found = [frame for frame in traceback.extract_stack() if "/srgan/" in frame.filename]
    return f"{found[-1].filename}:{found[-1].lineno}" if found else "in the backward pass"
