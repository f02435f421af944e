"""Estimate the memory and the time of a training from a few steps on random pixels."""

import contextlib
import datetime
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from PIL import Image

from srgan.config.data import Prepare
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.config.training import Runtime, Train
from srgan.data.manifest import pairs
from srgan.data.packed_store import Store
from srgan.data.sampler import DEVICE_SHARE, PatchSampler
from srgan.data.shards import image_bytes
from srgan.data.store_writer import SHARD_BYTES
from srgan.degradations.recipe import Recipe
from srgan.distributed.device import pick_device
from srgan.inference.torch_upscale import TILE, upscale
from srgan.models.checkpoints import new_generator
from srgan.models.compact import CompactConfig
from srgan.models.registry import create_discriminator, parameter_count
from srgan.tracking import optional
from srgan.training.objectives import Objective
from srgan.training.trainer import Trainer
from srgan.training.validation import LOSS_TILE
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.tensor_memory import TensorMemory

FEW = 2  # patches
WARM, STEPS, PATIENCE = 3, 20, 60.0  # warm-up steps, measured steps, seconds for a probe at most
LIBRARIES = 1e9  # bytes of GPU memory that CUDA's libraries take
LARGE_IMAGE = 2040 * 1356  # HR pixels of a validation image before the data is prepared, as in DIV2K
BUFFERS = 1.25  # memory of a process on a CPU / size of its tensors: buffers of oneDNN and malloc (measured: 1.17 to 1.36)


@dataclass(frozen=True)
class Data:
    """The part of the data that determines the memory.

    Attributes:
        validation: HR pixels of the largest validation image.
        pixels: bytes of the packed store, or None if it is unknown.
    """

    validation: int = LARGE_IMAGE
    pixels: int | None = None


@dataclass(frozen=True)
class Plan:
    """Memory and time of a stage."""

    stage: str
    weights: int
    memory: float  # bytes at the peak of a step: of the process on a CPU or of the device on a GPU
    free: float  # bytes for each process: the GPU's memory without the share of the pixels, or the machine's divided by the processes
    limit: str  # the source of `free`
    steps: int
    rate: float | None  # steps a second, None without a measurement
    validation: float = 0.0  # bytes at the peak of a validation
    pixels: int = LARGE_IMAGE  # HR pixels of the largest validation image

    def __str__(self) -> str:
        text = (
            f"{self.stage}: {self.weights:,} weights, {max(self.memory, self.validation) / 1e9:.1f} GB of memory at the peak, "
            f"{self.free / 1e9:.1f} GB are free ({self.limit})"
        )
        if self.validation > max(self.memory, self.free):
            return (
                f"{text}: this is too much for the validation of an image with {self.pixels / 1e6:.1f} million pixels. Leave large images "
                "out of the data, or choose a smaller network"
            )
        if self.memory > self.free:
            return (
                f"{text}: this is too much. Raise {self.stage}.gradient_accumulation, lower {self.stage}.batch_size or patch_size, "
                f"or set runtime.{self.stage}.activation_checkpointing for rrdb"
            )
        if self.rate is None:
            return text
        duration = datetime.timedelta(seconds=round(self.steps / self.rate))
        return f"{text}; {self.steps:,} steps at {self.rate:.3g} a second: {duration}, and validations"


def prepared_data(project: Project) -> Data:
    """Return the sizes of the prepared data, or assumptions before it is prepared."""
    try:
        files = [pair.hr or pair.lr for pair in pairs(project.prepared, "validation")]
        sizes = []
        for path in files:
            with Image.open(path) as image:
                sizes.append(image.width * image.height)
        return Data(max(sizes, default=LARGE_IMAGE), Store(project.prepared).size)
    except (SrganError, OSError):  # missing or damaged: the stages report it
        return Data()


def plan(params: Params, stage: str, probe: bool = True, data: Data | None = None) -> Plan:
    """Estimate the memory and the time of a training stage on this machine.

    Args:
        params: the whole configuration.
        stage: ``pretrain`` or ``train``.
        probe: measure the time with `STEPS` steps, or with those that fit into `PATIENCE` seconds.
        data: the sizes of the data, see `prepared_data`. By default assumptions.
    """
    data = data or Data()
    device = pick_device()
    options = getattr(params, stage)
    with torch.device("meta"):
        weights = parameter_count(_generator(params))
    if device.type == "cuda":
        base, free, limit = LIBRARIES, _free_on_gpu(device, data, options.window), "GPU"
    else:
        base, found, own = _size_of_process(params), machine.memory(), psutil.Process().memory_info()
        # The memory of this process is free again when the stage starts, except that of shared files.
        free, limit = (found.available + own.rss - getattr(own, "shared", 0)) / getattr(params.runtime, stage).nproc_per_node, found.limit
    step = peak_of_tensors(params, stage)
    memory, validation = base + step, base + peak_of_validation(params, stage, data.validation, step)
    rate = measured_rate(params, stage) if probe and max(memory, validation) <= free else None
    return Plan(stage, weights, memory, free, limit, options.steps, rate, validation, data.validation)


def _free_on_gpu(device: torch.device, data: Data, window: int) -> float:
    """Return the free bytes without the packed store or a window of it, which stays on the GPU if it fits."""
    gc.collect()
    torch.cuda.empty_cache()  # else the memory that PyTorch keeps from an earlier plan counts as used
    free = float(torch.cuda.mem_get_info(device)[0])
    if data.pixels is None:
        return (1 - DEVICE_SHARE) * free
    pixels = min(data.pixels, window * SHARD_BYTES) if window else data.pixels
    return free - pixels if pixels <= DEVICE_SHARE * free else free


def peak_of_tensors(params: Params, stage: str) -> float:
    """Measure the bytes of all tensors at the peak of a step.

    The steps have few patches and twice as many. The activations grow with the number of patches and the rest stays the same.
    """
    options = getattr(params, stage)
    less, more = (_peak_of_step(_few_patches(params, stage, patches), stage) for patches in (FEW, 2 * FEW))
    return less + (more - less) * (options.batch_size / options.gradient_accumulation / FEW - 1)


def peak_of_validation(params: Params, stage: str, pixels: int, step: float) -> float:
    """Measure the bytes of all tensors at the peak of a validation.

    The generator upscales two small images. Its activations grow with the number of pixels and the rest stays the same. It also upscales a
    batch of training patches. The losses compare tiles of bounded size.

    Args:
        params: the whole configuration.
        stage: ``pretrain`` or ``train``.
        pixels: HR pixels of the largest image.
        step: bytes at the peak of a step. A CUDA graph keeps them.
    """
    scale, options = params.prepare.scale, getattr(params, stage)
    side = max(LOSS_TILE // scale // 2, 1)
    largest = max(min(pixels / scale**2, TILE**2), options.batch_size * (options.patch_sizes[-1] / scale) ** 2)  # LR pixels at once

    with _ledger() as ledger:
        trainer = _trainer(_few_patches(params, stage, FEW), stage)
        trainer.step(1)  # creates the optimizer's state
        model, objective = trainer.ema.module, cast(Objective, trainer.objective)

        def compare() -> None:
            hr_tile, lr_tile = (torch.zeros(1, 3, width, width, device=trainer.device) for width in (2 * side * scale, 2 * side))
            objective.validate(hr_tile, hr_tile, lr_tile, trainer.discriminator)

        before = _peak(trainer, ledger, lambda: None)
        less, more = (_peak(trainer, ledger, partial(upscale, model, np.zeros((side, width, 3), np.uint8))) for width in (side, 2 * side))
        peak = max(less + (more - less) * (largest / side**2 - 1), _peak(trainer, ledger, compare))
        return peak + step - before if trainer.graph else peak


def _few_patches(params: Params, stage: str, patches: int) -> Params:
    few = getattr(params, stage).model_copy(update={"batch_size": patches, "gradient_accumulation": 1})
    if isinstance(few, Train):  # the steps with a gradient penalty need the most memory
        often = few.stabilization.model_copy(update={"penalty_every": 1})
        few = few.model_copy(update={"stabilization": often})
    return params.model_copy(update={stage: few})


def _ledger() -> contextlib.AbstractContextManager[TensorMemory | None]:
    """Return what counts the bytes of tensors on a CPU. CUDA counts them itself."""
    return contextlib.nullcontext() if pick_device().type == "cuda" else TensorMemory()


def _peak(trainer: Trainer, ledger: TensorMemory | None, function: Callable[[], object]) -> float:
    """Return the bytes of all tensors at the peak of a function."""
    gc.collect()
    if ledger:
        ledger.peak = ledger.now
    else:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    function()
    return BUFFERS * ledger.peak if ledger else float(torch.cuda.max_memory_allocated(trainer.device))


def _peak_of_step(params: Params, stage: str) -> float:
    with _ledger() as ledger:
        trainer = _trainer(params, stage)
        peaks = [_peak(trainer, ledger, partial(trainer.step, step)) for step in (1, 2, 3)]
    return min(peaks[1:])  # the first step creates the optimizer's state, and uncollected tensors can raise the peak of another


def _size_of_process(params: Params) -> float:
    """Measure the bytes of a stage's process without its tensors: the libraries, also those that torch loads in the first step."""
    with contextlib.suppress(ImportError):
        optional.load("mlflow_run")
    small = params.pretrain.model_copy(update={"batch_size": 1, "gradient_accumulation": 1})
    model = CompactConfig(name="compact", features=4, depth=0)
    trainer = _trainer(params.model_copy(update={"model": model, "pretrain": small, "runtime": Runtime()}), "pretrain")
    trainer.step(1)
    return float(psutil.Process().memory_info().rss)


def measured_rate(params: Params, stage: str, clock: Callable[[], float] = time.monotonic) -> float:
    """Measure the steps a second on random pixels. `clock` may be another one, such as that of the processor."""
    trainer, done = _trainer(params, stage), 0
    for steps, patience in ((WARM, PATIENCE / 4), (STEPS, PATIENCE)):
        _wait(trainer.device)
        begin, before, start = time.monotonic(), done, clock()
        while done == before or (done < before + steps and time.monotonic() - begin < patience):
            done += 1
            trainer.step(done)
    _wait(trainer.device)
    return (done - before) / (clock() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _generator(params: Params) -> torch.nn.Module:
    keeps_luma = Recipe(params.prepare.recipe).keeps_luma
    return new_generator(params.model, params.prepare.scale, keeps_luma, Path(params.pretrain.pretrained), params.prepare.channels)


def _trainer(params: Params, stage: str) -> Trainer:
    """Create the stage's trainer with random pixels as its data."""
    options = getattr(params, stage)
    side = options.patch_sizes[-1]  # the steps with the largest patches take the most memory and time
    options = options.model_copy(update={"patch_size": side})
    discriminator = None
    if isinstance(options, Train):
        discriminator = create_discriminator(options.discriminator)
    store: Any = _Noise(params.prepare, 2 * side)
    sampler = PatchSampler(store, options.batch_size, side, options.seed)
    runtime = getattr(params.runtime, stage).model_copy(update={"compile": "off"})
    return Trainer(options, runtime, _generator(params), discriminator, sampler, [], pretrained_losses=False)


class _Noise:
    """One image of random pixels with the interface of `srgan.data.packed_store.Store`."""

    def __init__(self, options: Prepare, side: int) -> None:
        self.scale, self.channels, small = options.scale, options.channels, side // options.scale
        self.dtype: type[np.unsignedinteger] = np.uint16 if options.bits == 16 else np.uint8
        self.white = 2**options.bits - 1
        self.recipe = Recipe(options.recipe)
        self.variants = int(self.recipe.made_ahead)
        numbers = image_bytes(side, side, self.scale, self.variants, self.channels)
        self.size = numbers * options.bits // 8
        pixels = np.random.default_rng(0).integers(0, 256, numbers, dtype=self.dtype)
        self.pixels, self.keep = (lambda shard: pixels), (lambda shards, ahead: None)
        hr_pixels, lr_pixels = np.split(pixels, [self.channels * side**2])
        self.hr = [hr_pixels.reshape(side, side, self.channels)]
        self.lr_variants = [lr_pixels.reshape(self.variants, small, small, self.channels)]
        self.sizes, self.starts = np.array([[side, side]]), np.array([0, self.size])
        self.offsets = self.shard_of = np.zeros(1, np.int64)
