"""What a training will take, before it takes it: memory from steps with one and two crops, time from a few steps on random pixels."""

import contextlib
import datetime
import gc
import time
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srgan import models
from srgan.data.crops import Crops
from srgan.params import Params, Train, to_dict
from srgan.training.device import pick_device
from srgan.training.perceptual import open_perceptual
from srgan.training.trainer import Trainer

WARM, STEPS, PATIENCE = 3, 20, 60.0  # steps, steps, seconds that a probe may take
LIBRARIES = 1.25e9  # bytes: what CUDA's libraries and their workspaces take on a GPU, beside the tensors


@dataclass(frozen=True)
class Plan:
    """What a stage takes."""

    stage: str
    weights: int
    memory: float  # bytes at the peak, of the process on a CPU, of the device on a GPU
    free: float  # bytes that are to be had
    steps: int
    rate: float | None  # steps a second; None if that was not tried

    def __str__(self) -> str:
        text = (
            f"{self.stage}: {self.weights:,} weights, {self.memory / 1e9:.1f} GB of memory at the peak ({self.free / 1e9:.1f} GB are free)"
        )
        if self.memory > self.free:
            return f"{text}: too much; raise {self.stage}.accumulate, lower {self.stage}.batch or patch, or set recompute for rrdb"
        if self.rate is None:
            return text
        duration = datetime.timedelta(seconds=round(self.steps / self.rate))
        return f"{text}; {self.steps:,} steps at {self.rate:.3g} a second: {duration}, and validations"


def plan(params: Params, stage: str, probe: bool = True) -> Plan:
    """What a training stage of these parameters takes on this machine.

    Args:
        params: the whole configuration.
        stage: ``pretrain`` or ``train``.
        probe: whether to measure the time, with `STEPS` steps, or as many as can be done in `PATIENCE` seconds.
    """
    device = pick_device()
    options = getattr(params, stage)
    with torch.device("meta"):
        weights = models.parameter_count(_generator(params))
    if device.type == "cuda":
        base, free = LIBRARIES, float(torch.cuda.mem_get_info(device)[0])
    else:
        base, free = float(psutil.Process().memory_info().rss), float(psutil.virtual_memory().available)
    memory = base + peak_of_tensors(params, stage)
    rate = measured_rate(params, stage) if probe and memory <= free else None
    return Plan(stage, weights, memory, free, options.steps, rate)


def peak_of_tensors(params: Params, stage: str) -> float:
    """Bytes of all tensors at the fullest moment of a step.

    Measured in steps with one and with two crops at a time: what a network keeps of its input grows with the crops, all else stays.
    """
    options = getattr(params, stage)
    one, two = (_peak_of_step(replace(params, **{stage: replace(options, batch=crops, accumulate=1)}), stage) for crops in (1, 2))
    return one + (two - one) * (options.batch // options.accumulate - 1)


def _peak_of_step(params: Params, stage: str) -> float:
    device = pick_device()
    counted = contextlib.nullcontext(_Ledger()) if device.type == "cuda" else _Ledger()
    with counted as ledger:
        trainer = _trainer(params, stage)
        trainer.step(1)  # the optimiser's state comes with it
        gc.collect()
        ledger.peak = ledger.now
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        trainer.step(2)
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else ledger.peak


def measured_rate(params: Params, stage: str) -> float:
    """Steps a second, on random pixels."""
    trainer = _trainer(params, stage)
    begin = time.monotonic()
    done, start = 0, 0.0
    while done < WARM + STEPS:
        if done == WARM or (done == 1 and time.monotonic() - begin > PATIENCE / 4):
            _wait(trainer.device)
            start, first = time.monotonic(), done
        done += 1
        trainer.step(done)
        if start and time.monotonic() - begin > PATIENCE:
            break
    _wait(trainer.device)
    return (done - first) / (time.monotonic() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _generator(params: Params) -> torch.nn.Module:
    config = to_dict(params.model)
    return models.build_generator(config.pop("name"), scale=params.prepare.scale, **config)


def _trainer(params: Params, stage: str) -> Trainer:
    """As the stage makes it, on pixels from nowhere."""
    options = replace(getattr(params, stage), compile=False)
    discriminator = perceptual = None
    if isinstance(options, Train):
        config = {key: value for key, value in to_dict(options.discriminator).items() if key != "learning_rate"}
        discriminator = models.build_discriminator(config.pop("name"), **config)
        perceptual = open_perceptual(options.losses.perceptual, trained=False)
    store: Any = _Noise(params.prepare.scale, 2 * options.patch)
    crops = Crops(store, options.batch, options.patch, options.seed)
    return Trainer(options, _generator(params), discriminator, crops, [], perceptual)


class _Noise:
    """Looks like a `srgan.data.store.Store` of one image."""

    def __init__(self, scale: int, side: int) -> None:
        self.scale, small = scale, side // scale
        self.pixels = np.random.default_rng(0).integers(0, 256, 3 * (side**2 + small**2), dtype=np.uint8)
        self.hr = [self.pixels[: 3 * side**2].reshape(side, side, 3)]
        self.lr = [self.pixels[3 * side**2 :].reshape(small, small, 3)]
        self.offsets = np.zeros(1, np.int64)


class _Ledger(TorchDispatchMode):
    """Adds up the storages that operators make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0.0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage: Any) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size
