"""Parts that measure time. They run alone, one after the other."""

import contextlib
import gc
import importlib
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity

from gpu_parts.shared import CUDA, FILES, attempt, check, info, milliseconds, needs_cuda, peak_tflops, photographs, save_text, wait
from plain_loop import PROFILES, PlainLoop
from srgan.config import profiles
from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import pairs
from srgan.data.sampler import PrefetchingSampler
from srgan.degradations.bicubic import bicubic_upscale
from srgan.distributed.device import pick_device
from srgan.evaluation.evaluate import evaluate
from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import load_generator
from srgan.tuning import estimate
from train import Ours, flops, make_data

NAMES = list(PROFILES) if CUDA else ["srgan"]
STAGES = ("pretrain", "train")


@contextlib.contextmanager
def data() -> Iterator[Path]:
    """Return a folder with noise images within the block."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        yield Path(folder)


def batch_size(name: str, stage: str) -> int:
    """Return the batch size of a profile."""
    return getattr(profiles.load(PROFILES[name]), stage).batch_size if CUDA else 1


def collect() -> None:
    """Give unused memory back to the device."""
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()


# -- the machine --------------------------------------------------------------------------------------------------------------


def machine(_: str = "") -> None:
    """Report versions and the measured peaks of the device."""
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}, numpy {np.__version__}"
    info("machine, versions", f"{versions}, {os.cpu_count()} cores")
    if needs_cuda("machine, device"):
        return
    with attempt("machine, nvidia-smi"):
        query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
        done = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=30)
        info("machine, nvidia-smi", done.stdout.strip())
    peaks = {"bf16 matrix product, TFLOP/s": peak_tflops()}
    torch.backends.cudnn.benchmark = True
    for channels, out, side, batch in ((64, 64, 256, 16), (64, 64, 24, 16), (64, 64, 24, 128), (160, 32, 32, 16), (512, 512, 12, 16)):
        settings = {"device": "cuda", "dtype": torch.bfloat16}
        x = torch.randn(batch, channels, side, side, **settings).to(memory_format=torch.channels_last)
        layer = nn.Conv2d(channels, out, 3, padding=1, **settings).to(memory_format=torch.channels_last)

        def run(x: torch.Tensor = x, layer: nn.Module = layer) -> None:
            with torch.no_grad():
                for _ in range(50):
                    layer(x)

        work = 50 * 2 * 9 * channels * out * batch * side**2
        peaks[f"3x3 convolution {channels} to {out} on {batch}x{side}x{side}, TFLOP/s"] = work / milliseconds(run, 5) / 1e9
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    peaks["copy, TB/s"] = 2 * 2**30 / milliseconds(lambda: target.copy_(source)) / 1e9
    info("machine, peaks", "; ".join(f"{key} {value:,.2f}" for key, value in peaks.items()), **peaks)
    one = torch.zeros(1, device="cuda")

    def small() -> None:
        for _ in range(1000):
            one.add_(1)

    launched = milliseconds(small, 5)  # of 1000 kernels, so it equals the microseconds of one
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        small()
    info("machine, launch", f"a small kernel takes {launched:.2f} us, {milliseconds(graph.replay):.2f} us in a CUDA graph")


# -- inside a step ------------------------------------------------------------------------------------------------------------


def waits(name: str) -> None:
    """Count the host's waits for the device in a step, and its kernels."""
    if needs_cuda("waits"):
        return
    with data() as folder:
        for stage in STAGES:
            with attempt(f"waits, {name} {stage}"):
                _waits(name, stage, folder)
            collect()


def _waits(name: str, stage: str, folder: Path) -> None:
    subject = Ours(name, stage, batch_size(name, stage), folder, loading=True, compile="off")
    subject.done = 50  # past the warm-up of the divergence check
    for _ in range(6):
        subject.step()
    wait()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject.step()
    torch.cuda.set_sync_debug_mode("default")
    found = [f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught if "synchroniz" in str(warning.message)]
    places = ", ".join(sorted(set(found)))
    check(not found, f"waits, {name} {stage}", f"{len(found)} waits for the device in a step{f' at {places}' if found else ''}")

    def ten() -> None:
        for _ in range(10):
            subject.step()

    step_ms = milliseconds(ten, 5) / 10
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(3):
            subject.step()
        wait()
    kernels = [event for event in recorded.events() if event.device_type == torch.autograd.DeviceType.CUDA and "#" not in event.name]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 3e3
    text = f"{len(kernels) / 3:.0f} kernels and copies, {busy:.2f} ms of work in a step of {step_ms:.2f} ms"
    text += f": busy {100 * busy / step_ms:.0f} %"
    info(f"waits, {name} {stage} kernels", text, kernels=len(kernels) / 3, busy_ms=busy, step_ms=step_ms)
    table = recorded.key_averages().table(sort_by="self_cuda_time_total", row_limit=30, max_name_column_width=60)
    save_text(f"profile-{name}-{stage}.txt", table)


# -- speed --------------------------------------------------------------------------------------------------------------------


def speed(name: str) -> None:
    """Measure the steps of a profile and a plain loop in turn. The argument "compiled" compares `compile: on` with usual steps."""
    with data() as folder:
        peak = peak_tflops()
        info(f"speed, {name} peak", f"{peak:,.1f} TFLOP/s")
        if name == "compiled":
            for profile, stage in (("srgan", "pretrain"), ("srgan", "train"), ("compact", "pretrain"))[: 3 if CUDA else 1]:
                _in_turn(profile, stage, batch_size(profile, stage), folder, peak, ("resident", "compiled", "compiled graph"))
            return
        for stage in STAGES:
            batch = batch_size(name, stage)
            _in_turn(name, stage, batch, folder, peak, ("resident", "pinned", "plain float32", "plain bf16")[: None if CUDA else 3])
            if CUDA:
                for factor in (4, 16) if name == "srgan" else (4,):
                    _in_turn(name, stage, factor * batch, folder, peak, ("resident", "plain bf16"))


def side(kind: str, name: str, stage: str, batch: int, folder: Path) -> Callable[[], None]:
    """Return a step of the trainer, or of the plain loop with a fixed batch."""
    if kind.startswith("plain"):
        plain = PlainLoop(name, stage, batch, folder, loading=False)
        if kind == "plain float32":
            return plain.step

        def mixed() -> None:
            with torch.autocast(pick_device().type, torch.bfloat16):
                plain.step()

        return mixed
    ways = {"cuda_graph": "auto" if "graph" in kind else "off", "compile": "on" if "compiled" in kind else "off"}
    ours = Ours(name, stage, batch, folder, loading=True, **ways)
    if kind == "pinned":
        ours.trainer.batches = PrefetchingSampler(ours.trainer.sampler, ours.trainer.device)
    return ours.step


def _in_turn(name: str, stage: str, batch: int, folder: Path, peak: float, kinds: tuple[str, ...]) -> None:
    """Measure the sides alternately in this process and report milliseconds, images per second and the share of the peak."""
    label = f"speed, {name} {stage} batch {batch}"
    sides: dict[str, Callable[[], None]] = {}
    memory: dict[str, float] = {}
    with attempt(label):
        work = flops(name, stage, batch, folder)
        for kind in kinds:
            with attempt(f"{label}, {kind}"):
                collect()
                held, begin = torch.cuda.memory_allocated() if CUDA else 0, time.perf_counter()
                step = side(kind, name, stage, batch, folder)
                for _ in range(8 if CUDA else 1):
                    step()
                wait()
                if CUDA:  # without the workspaces that cuDNN tries in the first steps
                    torch.cuda.reset_peak_memory_stats()
                    step()
                    wait()
                memory[kind] = (torch.cuda.max_memory_allocated() - held) / 1e9 if CUDA else 0.0
                sides[kind] = step
                if "compiled" in kind:
                    info(f"{label}, compilation", f"{time.perf_counter() - begin:.0f} s")
        times = rounds(sides)
        for kind, (seconds, host) in times.items():
            rate = work / seconds / 1e12
            text = f"{1e3 * seconds:.2f} ms (host {1e3 * host:.2f}), {batch / seconds:,.0f} images/s, {rate:.1f} TFLOP/s, "
            text += f"{100 * rate / peak:.1f} % of the peak, {memory[kind]:.2f} GB"
            others = [other for other in times if other != kind]
            ratios = "".join(f", {times[other][0] / seconds:.2f} times the speed of {other}" for other in others if kind == kinds[0])
            figures = {"ms": 1e3 * seconds, "images_per_second": batch / seconds, "tflops": rate, "memory_gb": memory[kind]}
            info(f"{label}, {kind}", text + ratios, **figures)


def rounds(sides: dict[str, Callable[[], None]], length: float = 0.3) -> dict[str, tuple[float, float]]:
    """Return the median seconds of a step and of its host part. The sides take turns of `length` seconds."""
    counts, found = {}, {kind: ([], []) for kind in sides}
    for kind, step in sides.items():
        wait()
        start = time.perf_counter()
        step()
        wait()
        counts[kind] = max(1, min(100, int(length / (time.perf_counter() - start))))
    for _ in range(5 if CUDA else 1):
        for kind, step in sides.items():
            wait()
            start = time.perf_counter()
            for _ in range(counts[kind]):
                step()
            found[kind][1].append((time.perf_counter() - start) / counts[kind])
            wait()
            found[kind][0].append((time.perf_counter() - start) / counts[kind])
    return {kind: tuple(map(statistics.median, times)) for kind, times in found.items()}


# -- a real training ----------------------------------------------------------------------------------------------------------


def real(photos: str = "") -> None:
    """Train on photographs from the download to the ONNX file, compare with bicubic, and upscale on the device."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    params, project = _real_params(photos), Project(Path(tempfile.mkdtemp()))
    took = {}
    for name in ("download", "prepare", *STAGES, "export"):
        untracked = {"tracked": False} if name in STAGES else {}
        if name in STAGES and CUDA:
            seconds = {"pretrain": 40, "train": 25}[name]
            params = _with_steps(params, name, round(seconds * estimate.measured_rate(params, name)))
        begin = time.perf_counter()
        importlib.import_module(f"srgan.stages.{name}").run(project, params, **untracked)
        took[name] = time.perf_counter() - begin
        if name in STAGES:
            options = getattr(params, name)
            rate = options.steps * options.batch_size / took[name]
            text = f"{options.steps} steps of {options.batch_size} in {took[name]:.1f} s: {rate:,.0f} images/s"
            info(f"real, {name}", f"{text} with validations and checkpoints", images_per_second=rate)
            shutil.copy(project.losses[name], Path(os.environ[FILES]) / f"real-{name}.csv")
            shutil.copy(project.reports / f"{name}_validation.png", os.environ[FILES])
            shutil.copy(project.reports / f"{name}_validation.csv", os.environ[FILES])
    info("real, stages", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    with attempt("real, PSNR-Y"):
        _compare_with_bicubic(project)
    with attempt("real, upscale"):
        _upscale(project)


def _real_params(photos: str) -> Params:
    """Return SRResNet with the losses of the demo, which need no downloaded weights."""
    values = profiles.load("demo").model_dump()
    values["data"] = {"train": (str(Path(photos).resolve()) if photos else "sample",), "test": () if photos else ("sample",)}
    values["prepare"] |= {"validation": 0.05, "test": 0.05, "max_unreadable": 20} if photos else {}
    values["model"] = {"name": "srresnet"} if CUDA else {"name": "compact", "features": 8, "depth": 2}
    values["pretrain"]["pretrained"] = "scratch"
    for stage, rate in (("pretrain", 4e-4), ("train", 2e-4)):
        values[stage] |= {"batch_size": 16 if CUDA else 2, "patch_size": 96 if CUDA else 32, "lpips": False, "learning_rate": rate}
        values[stage]["schedule"] = {"name": "cosine", "warmup": 50 if CUDA else 0}
    values["export"]["fp16"] = CUDA
    params = Params.model_validate(values)
    for stage, steps in (("pretrain", 1000), ("train", 1000)):
        params = _with_steps(params, stage, steps if CUDA else 4)
    return params


def _with_steps(params: Params, stage: str, steps: int) -> Params:
    runtime = {"log_every": max(steps // 20, 1), "validate_every": max(steps // 4, 1), "checkpoint_every": max(steps // 4, 1)}
    every = params.runtime.model_copy(update={stage: getattr(params.runtime, stage).model_copy(update=runtime)})
    return params.model_copy(
        update={stage: getattr(params, stage).model_copy(update={"steps": max(steps, 50 if CUDA else 1)}), "runtime": every}
    )


def _compare_with_bicubic(project: Project) -> None:
    device, file = pick_device(), next(project.models.glob("*-fp32.onnx"))
    test = pairs(project.prepared, "test")[: 30 if CUDA else 2]
    pretrained, _ = load_generator(project.pretrained, made_by="pretrain")
    gan, _ = load_generator(project.generator, made_by="train")
    models = {
        "bicubic": partial(bicubic_upscale, scale=pretrained.scale),
        "pretrained": partial(upscale, pretrained.to(device)),
        "gan": partial(upscale, gan.to(device)),
        "onnx": Upscaler(file, provider="cpu").upscale,
    }
    means = evaluate(test, models, pretrained.scale, device=device).groupby("model")["psnr_y"].mean().to_dict()
    text = f"{len(test)} test images: " + ", ".join(f"{name} {value:.2f} dB" for name, value in means.items())
    check(not CUDA or means["pretrained"] > means["bicubic"] + 0.3, "real, PSNR-Y", text, **means)
    off = abs(means["gan"] - means["onnx"])
    check(off < 0.02, "real, ONNX file", f"differs from the network on the device by {off:.4f} dB")


def _upscale(project: Project) -> None:
    """Upscale a large image with torch on the device, and compare a small one with the CPU."""
    model, _ = load_generator(project.generator, made_by="train")
    image = photographs()[3]
    small = image[:96, :128]
    expected = upscale(model, small).astype(int)
    large = np.tile(image, (4, 3, 1)) if CUDA else small
    on_device: Any = model.to(pick_device())
    levels = int(np.abs(upscale(on_device, small).astype(int) - expected).max())
    check(levels <= 2, "real, upscale", f"the device differs from the CPU by at most {levels} of 255 levels")
    seconds = milliseconds(lambda: upscale(on_device, large), 3 if CUDA else 1) / 1e3
    height, width = (model.scale * side for side in large.shape[:2])
    rate = height * width / seconds / 1e6
    text = f"{large.shape[1]}x{large.shape[0]} to {width}x{height} in {seconds:.2f} s: {rate:.1f} megapixels/s of output"
    info("real, upscale speed", text, megapixels_per_second=rate)
