"""Several processes, one for each device, that train one model together.

Each works on its share of a step's batch (`torchrun` starts them and tells each its rank); gradients, the statistics of batch
normalisation and the figures that are logged are means over all of them, so that N processes with a batch of B each do what one with a
batch of N * B does. Rank 0 alone writes files. Without other processes everything here does nothing.
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

from srgan.distributed import launch
from srgan.utils.errors import LostOthers, SrganError

PATIENCE = datetime.timedelta(minutes=30)  # that processes wait for one that writes pictures or a checkpoint

_LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "socket", "timed out", "timeout", "gloo", "nccl")


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Number of this process on its machine, which is also that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within the block, the processes that `torchrun` started work together; alone, nothing happens.

    Raises:
        LostOthers: another process is gone, or cannot be reached.
    """
    if "RANK" not in os.environ:
        yield
        return
    number, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        attempt = _meeting_place(number, world)
        backend = "cpu:gloo"
        if torch.cuda.is_available():
            if local_rank() >= torch.cuda.device_count():
                raise SrganError(f"nproc_per_node: more processes than this machine has GPUs ({torch.cuda.device_count()})")
            torch.cuda.set_device(local_rank())
            backend += ",cuda:nccl"
        dist.init_process_group(backend, store=attempt, rank=number, world_size=world, timeout=PATIENCE)
        if number:
            logging.getLogger("srgan").setLevel(logging.ERROR)  # one voice is enough
        yield
        _leave(attempt, number, world)
    except Exception as error:  # the group is left as it is: to end it would be to wait for the others
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _LOST):
            text = f"process {number} of {world} lost the others: {str(error).splitlines()[0]}; see what they say"
            raise LostOthers(text) from error
        raise
    except BaseException:  # told to stop, all of them after the same step
        _end()
        raise
    _end()


def _meeting_place(number: int, world: int) -> dist.Store:
    """The store through which the processes find each other: files on one machine, `torchrun`'s server on several."""
    if path := os.environ.get(launch.STORE):
        store = dist.FileStore(path, world)
        store.set_timeout(PATIENCE)
        return store
    # `torchrun` restarts its processes, not its store, where keys of the attempt before would lead the new processes astray. (Not so if
    # TORCH_DISABLE_SHARE_RDZV_TCP_STORE gives each attempt a store of its own, which an elastic run needs: docs/scale.md.)
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    server = dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world, is_master=number == 0 and not hosted, timeout=PATIENCE
    )
    return dist.PrefixStore(f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT'] if hosted else 0}", server)


def _end() -> None:
    # A thread of gloo that lets go of its last message needs Python's lock, which the end of the group would hold while it waits for that
    # thread (seen in torch 2.13).
    time.sleep(0.2)
    dist.destroy_process_group()


def _leave(store: dist.Store, number: int, world: int) -> None:
    """Wait for all to come here; then go, rank 0 last, as it may hold the store. Not a barrier of gloo's, for the reason given above."""
    store.add("arrived", 1)
    while store.add("arrived", 0) < world:
        time.sleep(0.05)
    store.add("leaving", 1)
    while number == 0 and store.add("leaving", 0) < world:
        time.sleep(0.05)


def parallel(model: nn.Module) -> nn.Module:
    """The model as it takes part in a step: its gradients become means over all processes as they are made."""
    if size() == 1:
        return model
    devices = [local_rank()] if next(model.parameters()).is_cuda else None
    # The first weights, and buffers such as those of spectral normalisation, are functions of the seed and of averaged gradients: equal
    # everywhere. Sent again and again they would cost time, and break a step that passes through a network twice.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from torch 2.13 on the option has another name
        return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def synchronise_statistics(model: nn.Module) -> nn.Module:
    """Let batch normalisation, if the model has any, take its statistics from the batches of all processes. Keys stay as they are."""
    if size() == 1:
        return model
    if next(model.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SyncedBatchNorm
    return model


class _SyncedBatchNorm(nn.BatchNorm2d):
    """What `torch.nn.SyncBatchNorm` does, which is for GPUs alone."""

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = features.float()
        mean = mean_of_all(values.mean((0, 2, 3), keepdim=True))
        variance = mean_of_all((values - mean).square().mean((0, 2, 3), keepdim=True))
        with torch.no_grad():
            count = values.numel() / values.shape[1] * size()
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scaled = (values - mean) * torch.rsqrt(variance + self.eps)
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]).to(features.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes. All of their losses depend on it, so all of their gradients come back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


def mean_of_all(value: Tensor) -> Tensor:
    """The mean over the processes, through which gradients flow."""
    return _Sum.apply(value) / size() if size() > 1 else value


def batch_mean(values: Tensor) -> Tensor:
    """The mean of a tensor over the batches of all processes, through which gradients flow."""
    return mean_of_all(values.mean())


def average(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of figures over the processes, on the device, without waiting for it."""
    if size() == 1:
        return figures
    values = torch.stack([value.detach().float() for value in figures.values()])
    dist.all_reduce(values)
    return dict(zip(figures, values / size(), strict=True))


def largest(number: int) -> int:
    """The largest of a number that each process names. They wait for each other, not for their devices."""
    if size() == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def gathered(items: list[Any]) -> list[Any]:
    """The items of all processes, rank after rank."""
    if size() == 1:
        return items
    parts: list[Any] = [None] * size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def check_equal(state: dict[str, Tensor]) -> None:
    """Make sure that all processes hold the same weights.

    Raises:
        SrganError: they do not.
    """
    if size() == 1:
        return
    checksum = hashlib.sha256()
    for value in state.values():
        checksum.update(value.detach().cpu().contiguous().numpy().tobytes())
    if len(set(gathered([checksum.hexdigest()]))) > 1:
        raise SrganError("the processes have trained different weights; that is a bug, report it, and train with nproc_per_node: 1")


def broadcast(items: list[Any]) -> list[Any]:
    """Return rank 0's items on all processes."""
    if size() > 1:
        dist.broadcast_object_list(items)
    return items
