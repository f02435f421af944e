"""Parts that check steps against the host, the CPU and the tests. They run at the same time."""

import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_parts.deadline import DEADLINE, NO_TIME
from gpu_parts.shared import (
    ADVERSARIAL,
    CPU_DEVICE,
    CUDA,
    DISCRIMINATORS,
    GENERATORS,
    attempt,
    build_trainer,
    check,
    info,
    largest_difference,
    logged_values,
    losses,
    milliseconds,
    photographs,
    save_text,
    temporary,
    wait,
    write_store,
)
from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler
from srgan.distributed.device import pick_device
from srgan.models.registry import NETWORKS
from srgan.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("SRGAN_GPU_SECONDS", 150.0)) - 3.0  # of the tests
LAST_START = 10.0  # seconds before that no test starts any more
MATRIX_SECONDS = 130.0  # of the combinations in one precision


# -- the tests of the project -------------------------------------------------------------------------------------------------


def tests(_: str = "") -> None:
    """Run the tests that need a GPU, the core's tests on this device, and two processes on the CPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-p",
        "gpu_parts.absent",
        "-p",
        "gpu_parts.deadline",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hydra_pytest",
        "--import-mode=importlib",
    ]
    command += ["-q", "-rs", "--timeout=120", "--tb=short", "--durations=8"]
    core = ["tests/training/test_cuda_graph.py", "tests/training/test_ema.py", "tests/losses", "tests/data/test_packed_store.py"]
    runs = {
        "marked gpu": ["--gpu", "-m", "gpu", "tests/training", "tests/data/test_packed_store.py", "tests/inference/test_upscaler.py"],
        "core": ["--gpu", "-m", "not slow and not gpu", *core, "tests/training", "-n", "8"],
        "distributed": ["-m", "not slow", "tests/distributed"],
    }
    if not CUDA:
        runs = {"marked gpu": runs["marked gpu"], "core": ["-m", "not slow", "tests/losses", "-n", "1"]}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])}
    environment |= {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "OMP_NUM_THREADS": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
        DEADLINE: str(time.time() + SECONDS - LAST_START),
    }
    started, begin = {}, time.monotonic()
    for name, arguments in runs.items():
        log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read after the process
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        started[name] = process, log
    for name, (process, log) in started.items():
        with attempt(f"tests, {name}"):
            try:
                process.wait(max(begin + SECONDS - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.seek(0)
            output = log.read()
            save_text(f"pytest-{name.replace(' ', '-')}.txt", output)
            failed = [line.split(" - ")[0] for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
            summary = next((line for line in reversed(output.splitlines()) if " in " in line), "no summary")
            late = [line.split()[1].strip("[]") for line in output.splitlines() if line.startswith("SKIPPED") and NO_TIME in line]
            rest = f", {' + '.join(late)} of the skipped ones because {NO_TIME}" if late else ""
            check(process.returncode in (0, 5), f"tests, {name}", f"{summary}{rest} {'; '.join(failed)[:900]}")


# -- patches ------------------------------------------------------------------------------------------------------------------


def _wrong_batches(ours: Any, sampler: PatchSampler, steps: int, load: torch.Tensor | None = None) -> int:
    """Return how many batches differ from the host's. Ten at a time are made before the first one is read."""
    wrong = 0
    for first in range(0, steps, 10):
        batches = []
        for step in range(first, first + 10):
            for _ in range(6 if load is not None else 0):  # keeps the device busy, so that copies wait in its queue
                load = (load @ load).mul_(1e-4)
            batches.append(ours(step))
        for step, batch in enumerate(batches, first):
            wrong += not all(np.array_equal(torch.as_tensor(a).cpu().numpy(), b) for a, b in zip(batch, sampler(step), strict=True))
    return wrong


def crops(_: str = "") -> None:
    """Compare the patches of the device with those of the host, under load and beyond 4 GiB."""
    folder, device, random = temporary(), pick_device(), np.random.default_rng(0)
    sizes = [(96, 200), (339 * 4, 510 * 4), (128, 128), (500, 333)]
    store = write_store(folder / "store", [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes])
    sampler = PatchSampler(store, 64, 96, 3)
    kinds = {"resident": GpuPatchSampler(sampler, device), "pinned": PrefetchingSampler(sampler, device)}
    for name, ours in kinds.items():
        with attempt(f"crops, {name}"):
            wrong = _wrong_batches(ours, sampler, 30)
            check(not wrong, f"crops, {name}", f"{wrong} of 30 batches of 64 patches differ from the host's")
            load = torch.randn(4096, 4096, device=device) if CUDA else torch.randn(64, 64)
            wrong = _wrong_batches(ours, sampler, 60 if CUDA else 10, load)
            check(not wrong, f"crops, {name} under load", f"{wrong} batches differ from the host's")
            info(f"crops, {name} time", f"{milliseconds(lambda ours=ours: ours(7), 30):.3f} ms for 64 patches of 96 pixels")

    with attempt("crops, in a training"):
        found = {}
        for name, kind in (("resident", GpuPatchSampler), ("pinned", PrefetchingSampler)):
            subject = build_trainer("pretrain", "compact", None, store, precision="fp32")
            subject.batches = kind(subject.sampler, device)
            for step in range(1, 21):
                subject.step(step)
            found[name] = logged_values(subject)["loss_l1"]
        check(abs(found["resident"] / found["pinned"] - 1) < 1e-3, "crops, in a training", f"mean losses of 20 steps: {found}")

    with attempt("crops, beyond 4 GiB"):
        side, goal = (2000, 4.4 * 2**30) if CUDA else (200, 2**20)
        image = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        count = math.ceil(goal / (image.nbytes * 17 / 16))
        big = write_store(folder / "big", (np.roll(image, number, 0) for number in range(count)))  # all are different
        sampler = PatchSampler(big, 64, 96, 3)
        begin = time.perf_counter()
        resident = GpuPatchSampler(sampler, device)
        resident(0)
        wait()
        seconds = time.perf_counter() - begin
        wrong = _wrong_batches(resident, sampler, 20)
        check(not wrong, "crops, beyond 4 GiB", f"{wrong} of 20 batches differ, upload of {big.size / 2**30:.1f} GiB took {seconds:.1f} s")


# -- all combinations ---------------------------------------------------------------------------------------------------------


def matrix(precision: str) -> None:
    """Train every generator against every discriminator with every adversarial loss for some steps."""
    steps, end = (8, time.monotonic() + MATRIX_SECONDS) if CUDA else (3, math.inf)
    store = write_store(temporary(), photographs(256)[:3])
    perceptual = itertools.cycle(("feature_matching", "vgg19"))
    combinations = _combinations(precision)
    good, bad = 0, 0
    while combinations and time.monotonic() < end:
        generator, discriminator, adversarial = combinations.pop(0)
        name = f"matrix, {generator} against {discriminator} {adversarial}, {precision}"
        bad += 1
        with attempt(name):
            changes: dict[str, Any] = {"precision": precision, "grad_clip": 1.0, "steps": steps}
            if discriminator:
                changes |= {"losses": losses(adversarial, next(perceptual)), "gradient_accumulation": 2 if discriminator == "unet" else 1}
            subject = build_trainer("train" if discriminator else "pretrain", generator, discriminator, store, **changes)
            if problems := _problems(subject, steps):
                check(False, name, "; ".join(problems))
            else:
                bad, good = bad - 1, good + 1
    if combinations:
        info(f"matrix, {precision} rest", f"{len(combinations)} combinations left out, no time was left. The next one: {combinations[0]}")
    check(not bad and good, f"matrix, {precision}", f"{good} combinations of {steps} steps are finite and learn, {bad} do not")


def _combinations(precision: str) -> list[tuple[str, str | None, str]]:
    """Return generators, discriminators and adversarial losses. The first ones contain every generator with every discriminator."""
    able = [name for name, (network, _) in GENERATORS.items() if precision != "fp16" or NETWORKS[network].half]
    if unable := sorted(set(GENERATORS) - set(able)):
        info(f"matrix, {precision} networks", f"{', '.join(unable)} left out, no support for float16")
    networks = list(itertools.product(able, DISCRIMINATORS))
    found: list[tuple[str, str | None, str]] = [(generator, None, "") for generator in able]
    for shift in range(len(ADVERSARIAL)):
        found += [(*pair, ADVERSARIAL[(number + shift) % len(ADVERSARIAL)]) for number, pair in enumerate(networks)]
    return found if CUDA else found[:2] + found[len(able) : len(able) + 12 : 2]


def _problems(subject: Trainer, steps: int) -> list[str]:
    before = [weight.detach().clone() for weight in subject.generator.parameters()]
    found, held = [], []
    for step in range(1, steps + 1):
        subject.step(step)
        if step in (2, steps):
            found.append(logged_values(subject))
            held.append(torch.cuda.memory_allocated() if CUDA else 0)
    problems = [f"{key} is {value}" for key, value in found[-1].items() if not math.isfinite(value)]
    if diverged := int(subject.divergence.step):
        problems.append(f"diverged at step {diverged}")
    after = list(subject.generator.parameters())
    if all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        problems.append("the generator did not change")
    if found[-1]["loss_l1"] > 2 * found[0]["loss_l1"]:
        problems.append(f"the pixel loss rose from {found[0]['loss_l1']:.4f} to {found[-1]['loss_l1']:.4f}")
    if held[-1] > held[0] + 2**20:
        problems.append(f"the memory grew by {(held[-1] - held[0]) / 2**20:.1f} MiB")
    if any(weight.dtype is not torch.float32 or weight.device.type != subject.device.type for weight in after):
        problems.append("weights have another type or device")
    if subject.dtype is torch.float16 and min(network.scaler.get_scale() for network in subject.networks.values()) < 64:
        problems.append("the gradient scale fell below 64")
    return problems


# -- the CPU as reference -----------------------------------------------------------------------------------------------------

PAIRINGS = (
    ("compact", "patch"),
    ("srresnet", "vgg"),
    ("rrdb", "unet"),
    ("srcnn", "patch"),
    ("rrdb-checkpointing", "vgg"),
    ("srresnet", None),
)


def reference(_: str = "") -> None:
    """Compare losses and gradient norms of the first steps with those of the CPU in float32.

    In half precision only the first step counts. Its updates turn the signs of small gradients into full steps of Adam. So the second
    gradient of a discriminator in bf16 differs by up to 43 % from that in float32 even on one CPU. The first one differs by 3.8 % there.
    """
    store = write_store(temporary(), photographs(256)[:2])
    if CUDA:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for precision, bound in {"fp32": 2e-3, "bf16": 8e-2, "fp16": 3e-2}.items():
        worst, where, count = 0.0, "", 0
        for generator, discriminator in PAIRINGS[: None if CUDA else 1]:
            if precision == "fp16" and not NETWORKS[GENERATORS[generator][0]].half:
                continue
            with attempt(f"reference, {generator} against {discriminator}, {precision}"):
                changes: dict[str, Any] = {"batch_size": 4, "patch_size": 32} | (
                    {"losses": losses("relativistic")} if discriminator else {}
                )
                stage = "train" if discriminator else "pretrain"
                ours = build_trainer(stage, generator, discriminator, store, precision=precision, **changes)
                theirs = build_trainer(stage, generator, discriminator, store, device=CPU_DEVICE, precision="fp32", **changes)
                for step in (1, 2) if precision == "fp32" else (1,):
                    ours.step(step)
                    theirs.step(step)
                    a, b = logged_values(ours), logged_values(theirs)
                    if precision == "fp16":  # 0 stands for an overflow, after which the scale falls
                        b = {key: value for key, value in b.items() if a[key] or not key.startswith("gradient")}
                    off, key = largest_difference(a, b)
                    if off >= worst:
                        worst, where = off, f"{generator} against {discriminator}, step {step}, {key}: {a[key]:.6g} and {b[key]:.6g}"
                count += 1
        text = f"{count} pairs differ by at most {100 * worst:.3f} % from the CPU in float32 ({where}). Allowed: {100 * bound:.1f} %"
        check(count and worst < bound, f"reference, {precision}", text)
