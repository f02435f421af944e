"""Data-parallel training: several processes, one for each device, train one model.

Each process works on its share of the batch of a step. Gradients, the statistics of batch normalization and the logged values are means
over all processes. So N processes with a batch of B learn the same as one process with a batch of N * B. Rank 0 alone writes files. In a
single process the functions of this module do nothing.
"""

import contextlib
import datetime
import hashlib
import logging
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from srgan.utils.errors import LostOthers, SrganError

STORE = "SRGAN_STORE"  # environment variable: the file through which the processes of `srgan.distributed.elastic` find each other
TIMEOUT = datetime.timedelta(minutes=30)  # in which a process writes comparison images or a checkpoint while the others wait

_LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "socket", "timed out", "timeout", "gloo", "nccl")


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Return the number of this process on its machine, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextlib.contextmanager
def initialized() -> Iterator[None]:
    """Connect the processes that `torchrun` started, within the block. A single process needs no connection.

    Raises:
        LostOthers: another process has ended or is unreachable.
    """
    if "RANK" not in os.environ:
        yield
        return
    number, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        attempt = _store(number, world)
        backend = "cpu:gloo"
        if torch.cuda.is_available():
            if local_rank() >= torch.cuda.device_count():
                raise SrganError(f"nproc_per_node: more processes than this machine has GPUs ({torch.cuda.device_count()})")
            torch.cuda.set_device(local_rank())
            backend += ",cuda:nccl"
        dist.init_process_group(backend, store=attempt, rank=number, world_size=world, timeout=TIMEOUT)
        if number:
            logging.getLogger("srgan").setLevel(logging.ERROR)  # rank 0 prints what concerns all
        yield
        _leave(attempt, number, world)
    except Exception as error:  # without `_end`, which would wait for the others
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _LOST):
            text = f"process {number} of {world} lost the connection to the others: {str(error).splitlines()[0]}. See their messages"
            raise LostOthers(text) from error
        raise
    except BaseException:  # a request to stop, which all processes follow after the same step
        _end()
        raise
    _end()


def _store(number: int, world: int) -> dist.Store:
    """Return the store through which the processes find each other: a file on one machine, the server of `torchrun` on several."""
    if path := os.environ.get(STORE):
        store = dist.FileStore(path, world)
        store.set_timeout(TIMEOUT)
        return store
    # `torchrun` restarts its processes but not its store, which still has the keys of the attempt before. So each attempt gets a prefix.
    # With TORCH_DISABLE_SHARE_RDZV_TCP_STORE, which an elastic run needs (docs/scale.md), each attempt has its own store.
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    server = dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world, is_master=number == 0 and not hosted, timeout=TIMEOUT
    )
    return dist.PrefixStore(f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT'] if hosted else 0}", server)


def _end() -> None:
    # A thread of gloo needs Python's lock to free its last message. The end of the group holds that lock while it waits for the thread
    # (seen in torch 2.13).
    time.sleep(0.2)
    dist.destroy_process_group()


def _leave(store: dist.Store, number: int, world: int) -> None:
    """Wait until all processes arrive, then leave. Rank 0 leaves last, because it may host the store. No barrier of gloo, see `_end`."""
    store.add("arrived", 1)
    while store.add("arrived", 0) < world:
        time.sleep(0.05)
    store.add("leaving", 1)
    while number == 0 and store.add("leaving", 0) < world:
        time.sleep(0.05)


def data_parallel(model: nn.Module) -> nn.Module:
    """Return the model with gradients that are means over all processes."""
    if size() == 1:
        return model
    devices = [local_rank()] if next(model.parameters()).is_cuda else None
    # No broadcast of buffers: the initial weights and buffers such as those of spectral normalization are equal in all processes, because
    # they are functions of the seed and of averaged gradients. A broadcast also breaks a step that passes through a network twice.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 renames the option
        return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def sync_batch_norm(model: nn.Module, together: bool = True) -> nn.Module:
    """Let several processes keep equal statistics of batch normalization. The keys of the state dict stay the same.

    Args:
        model: changed in place.
        together: normalize with the statistics of the batches of all processes. Otherwise each process normalizes with those of its own
            batch, and the processes share the running statistics alone.
    """
    if size() == 1:
        return model
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SyncedBatchNorm if together else _OwnBatchNorm
    return model


class _OwnBatchNorm(nn.BatchNorm2d):
    """Batch normalization of the process's own batch. The running statistics are means over the processes."""

    def forward(self, features: Tensor) -> Tensor:
        result = super().forward(features)
        if self.training:
            assert self.running_mean is not None
            assert self.running_var is not None
            both = torch.stack([self.running_mean, self.running_var])
            dist.all_reduce(both)
            # By `data`, because the backward pass refuses buffers that were changed after the forward pass. It does not read them.
            torch._foreach_copy_([self.running_mean.data, self.running_var.data], list(both / size()))
        return result


class _SyncedBatchNorm(nn.BatchNorm2d):
    """The function of `torch.nn.SyncBatchNorm`, which runs on GPUs only and waits for them in each forward pass."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = features.float()
        mean = mean_over_processes(values.mean((0, 2, 3), keepdim=True))
        variance = mean_over_processes((values - mean).square().mean((0, 2, 3), keepdim=True))
        with torch.no_grad():
            count = values.numel() / values.shape[1] * size()
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scaled = (values - mean) * torch.rsqrt(variance + self.eps)
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]).to(features.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes. The losses of all processes depend on it, so its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the differentiable mean of a tensor over the processes."""
    return _Sum.apply(value) / size() if size() > 1 else value


def batch_mean(values: Tensor) -> Tensor:
    """Return the differentiable mean of a tensor over its elements in all processes."""
    return mean_over_processes(values.mean())


def all_reduce_mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes, without waiting for the device. It may change the given tensor."""
    if size() == 1:
        return values
    dist.all_reduce(values)
    return values / size()


def all_max(number: int) -> int:
    """Return the largest number of all processes. They wait for each other, not for their devices."""
    if size() == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def all_gather(items: list[Any]) -> list[Any]:
    """Return the items of all processes, in the order of their ranks."""
    if size() == 1:
        return items
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def require_equal_weights(state: dict[str, Tensor]) -> None:
    """Check that all processes have the same weights.

    Raises:
        SrganError: the weights differ.
    """
    if size() == 1:
        return
    checksum = hashlib.sha256()
    for value in state.values():
        checksum.update(value.detach().cpu().contiguous().numpy().tobytes())
    if len(set(all_gather([checksum.hexdigest()]))) > 1:
        raise SrganError("the processes have trained different weights. This is a bug: report it and set nproc_per_node: 1")


def broadcast(items: list[Any]) -> list[Any]:
    """Return the items of rank 0 in all processes."""
    if size() > 1:
        dist.broadcast_object_list(items)
    return items
