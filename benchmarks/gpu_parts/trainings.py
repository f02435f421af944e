"""Parts that check whole trainings, several processes, compilation and export. They run at the same time."""

import gc
import math
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_parts.shared import (
    CPU_DEVICE,
    CUDA,
    GENERATORS,
    attempt,
    build_trainer,
    check,
    fit,
    info,
    largest_difference,
    logged_values,
    losses,
    needs_cuda,
    photographs,
    state_on_cpu,
    temporary,
    write_pairs,
    write_store,
)
from plain_loop import PROFILES
from srgan.distributed import process_group
from srgan.distributed.device import pick_device
from srgan.distributed.signals import Interrupted
from srgan.export.onnx import export_onnx
from srgan.export.quantize import write_fp16
from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.models.registry import NETWORKS
from srgan.training.trainer import Trainer
from srgan.utils.errors import SrganError
from train import Ours, make_data

# -- checkpoints --------------------------------------------------------------------------------------------------------------


def resume(_: str = "") -> None:
    """Stop a training with SIGTERM, resume it and compare it with an uninterrupted one."""
    folder, images = temporary(), photographs()
    store = write_store(folder / "store", [image[:256, :256] for image in images[:2]])
    pairs = write_pairs(folder / "pairs", [images[0][:96, :96]])
    steps, stop = (60, 37) if CUDA else (8, 5)
    runtime = {"log_every": 5, "validate_every": 20 if CUDA else 4, "checkpoint_every": 10 if CUDA else 4}
    kinds = (("fp32", "patch", True), ("bf16", "patch", True), ("fp16", "vgg", True), ("bf16", "patch", False))
    for precision, discriminator, deterministic in kinds[: None if CUDA else 1]:
        name = f"resume, {precision} against {discriminator}{', deterministic' if deterministic else ''}"
        with attempt(name):
            execution = runtime | {"deterministic": deterministic}

            def subject(precision: str = precision, discriminator: str = discriminator, execution: dict = execution) -> Trainer:
                return build_trainer("train", "compact", discriminator, store, pairs, execution, precision=precision, steps=steps)

            straight, again = (fit(subject(), folder / f"{name}-{run}") for run in ("straight", "again"))
            noise = _largest(straight, again)
            interrupted = subject()
            step = interrupted.step

            def stopping(number: int, step: Any = step) -> None:
                if number == stop:
                    os.kill(os.getpid(), signal.SIGTERM)
                step(number)

            interrupted.step = stopping  # type: ignore[method-assign]
            try:
                fit(interrupted, folder / f"{name}-stopped")
                check(False, name, "SIGTERM did not stop the training")
                continue
            except Interrupted:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            resumed = fit(subject(), folder / f"{name}-stopped")
            off = _largest(straight, resumed)
            rows = [len((folder / f"{name}-{run}" / "losses.csv").read_text().splitlines()) for run in ("straight", "stopped")]
            text = f"weights differ by at most {off:.2g} from the uninterrupted run, two such runs differ by {noise:.2g}"
            check(rows[0] == rows[1] and off <= (0 if deterministic else max(10 * noise, 0.02)), name, text)


def _largest(first: torch.nn.Module, second: torch.nn.Module) -> float:
    values = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max(float((a.float() - b.float()).abs().max()) for a, b in values)


# -- validation ---------------------------------------------------------------------------------------------------------------


def validation(_: str = "") -> None:
    """Compare validation scores with those of the CPU."""
    folder, images = temporary(), photographs()
    store = write_store(folder / "store", [images[0][:256, :256]])
    pairs = write_pairs(folder / "pairs", [image[:160, :200] for image in images[:2]])
    for generator in ("compact", "srresnet", "rrdb", "srcnn")[: None if CUDA else 1]:
        with attempt(f"validation, {generator}"):
            ours = build_trainer("train", generator, "patch", store, pairs, precision="bf16")
            theirs = build_trainer("train", generator, "patch", store, pairs, device=CPU_DEVICE, precision="fp32")
            theirs.load_state_dict(state_on_cpu(ours))
            (a, strips), (b, _) = ours.score(pairs)(), theirs.score(pairs)()
            text = f"PSNR-Y {a['val_psnr_y']:.4f} dB, {b['val_psnr_y']:.4f} dB on the CPU. Loss {a['val_loss']:.5f} and {b['val_loss']:.5f}"
            close = abs(a["val_psnr_y"] - b["val_psnr_y"]) < 0.02 and abs(a["val_loss"] / b["val_loss"] - 1) < 0.02
            check(close and len(strips) == len(pairs), f"validation, {generator}", text)

    for name in PROFILES if CUDA else ["srgan"]:
        with attempt(f"validation, memory of {name}"):
            _large_image(name, folder)


def _large_image(name: str, folder: Path) -> None:
    """Measure the memory of the validation of one image."""
    height, width = (1356, 2040) if CUDA else (96, 128)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pairs, data = write_pairs(folder / f"large-{name}", [image]), folder / f"data-{name}"
    data.mkdir()
    make_data(data)
    trainer = Ours(name, "train", 2, data, loading=False).trainer
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before, begin = torch.cuda.memory_allocated() if CUDA else 0, time.perf_counter()
    trainer.score(pairs)()
    peak = (torch.cuda.max_memory_allocated() - before) / 1e9 if CUDA else 0.0
    info(
        f"validation, memory of {name}",
        f"{peak:.1f} GB, {time.perf_counter() - begin:.2f} s for an image of {width}x{height}",
        memory_gb=peak,
    )


def memory(_: str = "") -> None:
    """Run out of memory: the error names the options to change."""
    if needs_cuda("memory"):
        return
    folder, images = temporary(), photographs()
    store = write_store(folder / "store", [image[:256, :256] for image in images[:2]])
    pairs = write_pairs(folder / "pairs", [images[0][:96, :96]])
    torch.cuda.set_per_process_memory_fraction(1.5e9 / torch.cuda.get_device_properties(0).total_memory)
    runtime = {"log_every": 1, "validate_every": 3, "checkpoint_every": 3}
    for generator in ("srresnet", "rrdb"):
        with attempt(f"memory, {generator}"):
            subject = build_trainer("train", generator, "unet", store, pairs, runtime, batch_size=256, patch_size=192, steps=3)
            try:
                fit(subject, folder / generator)
                check(False, f"memory, {generator}", "1.5 GB were enough, so there was no error")
            except SrganError as error:
                check("raise gradient_accumulation" in str(error), f"memory, {generator}", str(error)[:200])
            del subject


# -- several processes --------------------------------------------------------------------------------------------------------


class _Several(int):
    """A number of processes that never equals one."""

    def __eq__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def several(_: str = "") -> None:
    """Run DDP, synchronized batch normalization and NCCL in a process group of one, and compare with a single process."""
    store = write_store(temporary(), photographs(256)[:1])
    kinds = [("compact", "patch", "relativistic", 1), ("srresnet", "vgg", "vanilla", 1), ("rrdb-checkpointing", "unet", "hinge", 2)]

    def subject(kind: tuple[str, str, str, int], precision: str = "fp32") -> Trainer:
        generator, discriminator, adversarial, parts = kind
        changes = {"losses": losses(adversarial), "gradient_accumulation": parts, "precision": precision, "grad_clip": 1.0}
        return build_trainer("train", generator, discriminator, store, **changes)

    alone = {}
    for kind in kinds:
        single = subject(kind)
        single.step(1)
        alone[kind] = logged_values(single)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with attempt("several"), process_group.initialized():
        real, process_group.size = process_group.size, lambda: _Several(1)
        for kind in kinds:
            name = f"several, {kind[0]} against {kind[1]}"
            with attempt(name):
                group = subject(kind)
                group.step(1)
                off, key = largest_difference(logged_values(group), alone[kind])
                wrapped = type(group.networks["generator"].parallel).__name__
                text = f"{wrapped}: values differ by at most {100 * off:.3f} % ({key}) from one process"
                check(off < 2e-2 and wrapped == "DistributedDataParallel", name, text)
                for precision in ("bf16", "fp16"):
                    group = subject(kind, precision)
                    for step in range(1, 6):
                        group.step(step)
                    finite = all(math.isfinite(value) for value in logged_values(group).values())
                    check(finite, f"{name}, {precision}", f"five steps are {'' if finite else 'not '}finite")
        check(
            process_group.all_max(3) == 3 and process_group.all_gather([1]) == [1], "several, objects", "numbers and objects are exchanged"
        )
        process_group.size = real


# -- compilation and export ---------------------------------------------------------------------------------------------------


def compile(generator: str) -> None:
    """Compare `compile: on` with the plain networks, and measure its cost."""
    store = write_store(temporary(), photographs(256)[:2])
    opponent = {"srresnet": "vgg", "rrdb": "unet"}.get(generator, "patch")
    for precision in ("bf16", "fp32")[: 2 if CUDA else 1]:
        name = f"compile, {generator} against {opponent}, {precision}"
        with attempt(name):
            kinds = {"losses": losses("relativistic", "vgg19" if CUDA else "feature_matching"), "precision": precision}
            plain, compiled = (build_trainer("train", generator, opponent, store, runtime={"compile": on}, **kinds) for on in ("off", "on"))
            steps = 50 if CUDA else 2
            begin = time.perf_counter()
            for step in range(1, steps + 1):
                plain.step(step)
                compiled.step(step)
                if step == 1:
                    off, key = largest_difference(logged_values(compiled), logged_values(plain))
                    seconds = time.perf_counter() - begin
            later = abs(logged_values(compiled)["loss_l1"] / logged_values(plain)["loss_l1"] - 1)
            text = f"first step within {100 * off:.3f} % ({key}), pixel loss of {steps} steps within {100 * later:.2f} %"
            text += f", {seconds:.0f} s to compile"
            check(off < (1e-2 if precision == "fp32" else 0.05) and later < 0.2 and not int(compiled.divergence.step), name, text)


def onnx(_: str = "") -> None:
    """Export networks that were trained here and compare the files with torch on this device."""
    folder, images = temporary(), photographs()
    store = write_store(folder / "store", [image[:256, :256] for image in images[:2]])
    pairs = write_pairs(folder / "pairs", [image[:120, :160] for image in images[:2]])
    for generator in ("compact", "srresnet", "srresnet-transposed", "rrdb", "srcnn")[: None if CUDA else 1]:
        with attempt(f"onnx, {generator}"):
            subject = build_trainer("train", generator, "patch", store, precision="bf16")
            for step in range(1, 30 if CUDA else 3):
                subject.step(step)
            trained = subject.ema.module.cpu().to(memory_format=torch.contiguous_format).eval()
            path = folder / f"{generator}.onnx"
            worst = max(export_onnx(path, trained, {"sr.objective": "gan", "sr.name": "t"})["max_difference"].values())
            lr_image = images[0][:61, :97]
            theirs = Upscaler(path, provider="cpu", threads=1).upscale(lr_image).astype(int)
            levels = np.abs(upscale(trained.to(pick_device()), lr_image).astype(int) - theirs)
            text = f"at most {worst:.1e} from torch on the CPU, {levels.max()} levels from this device"
            text += f" ({100 * (levels > 0).mean():.2f} % of the values)"
            if NETWORKS[GENERATORS[generator][0]].half:
                text += f", float16 {write_fp16(folder / f'{generator}-fp16.onnx', path, pairs)['psnr_y_change']:+.4f} dB"
            check(worst < 1e-4 and levels.max() <= 1, f"onnx, {generator}", text)
