"""Measure training: ``python benchmarks/train.py`` (20 minutes on two cores).

The trainer of `srgan train` runs against a plain loop that represents common training code: float32, NCHW, a separate pass for each
loss, a transfer of the losses at every step and PNG patches from a DataLoader. Both sides use the same networks and batches. They
run alternately in separate processes and the median counts.

SRGAN is SRResNet (16 blocks) with its discriminator and VGG19 on 16 patches of 96 pixels. ESRGAN is RRDB (23 blocks) with the same
discriminator and VGG19 on patches of 128 pixels (4 patches on a CPU). The weights of VGG19 are random. The last lines are ``ratio
NAME VALUE`` (above 1: this project is faster) and ``value NAME VALUE``.

    --profile FILE   only profile a step by operator and write a trace for chrome://tracing
    --curves         only train 200 steps in bf16, in float32 and with other patches, and compare the losses
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from data import photograph
from plain_loop import PROFILES, SUBIMAGE, PlainLoop, networks, options_of
from srgan.config.training import StageRuntime
from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.data.store_writer import StoreWriter, pack
from srgan.degradations.bicubic import bicubic_downscale
from srgan.distributed.device import pick_device, pick_precision
from srgan.models.srresnet import SRResNet
from srgan.training.trainer import Trainer
from srgan.utils import machine

STAGES = {"pixel_step": "pretrain", "gan_step": "train"}


def make_data(folder: Path) -> None:
    """Write noise images as a packed store and as PNG sub-images."""
    (folder / "png").mkdir()
    with StoreWriter(folder, 4) as writer:
        for number in range(4):
            hr_image = photograph(number, 2 * SUBIMAGE, 4 * SUBIMAGE)
            lr_image = bicubic_downscale(hr_image, 4)
            packed = folder / f"{number}.u8"
            writer.add(str(number), pack(packed, hr_image, lr_image))
            for part in range(8):
                top, left = part // 4 * SUBIMAGE, part % 4 * SUBIMAGE
                hr_part = hr_image[top : top + SUBIMAGE, left : left + SUBIMAGE]
                Image.fromarray(hr_part).save(folder / "png" / f"{number}-{part}-hr.png")
                Image.fromarray(lr_image[top // 4 :, left // 4 :][: SUBIMAGE // 4, : SUBIMAGE // 4]).save(
                    folder / "png" / f"{number}-{part}-lr.png"
                )


class Ours:
    """The trainer of the project, with batches of the store or with one repeated batch."""

    def __init__(self, name: str, stage: str, batch: int, folder: Path, loading: bool, precision: str = "auto", **runtime: Any) -> None:
        options = options_of(name, stage, batch, precision)
        generator, discriminator, _ = networks(name, options)
        self.trainer = Trainer(
            options,
            StageRuntime(**runtime),
            generator,
            discriminator,
            PatchSampler(Store(folder), batch, options.patch_size, 0),
            [],
            pretrained_losses=False,
        )
        self.done, self.waited = 0, 0.0  # steps, seconds
        batches = self.trainer.batches
        fixed = batches(1)

        def timed(step: int) -> object:
            start = time.perf_counter()
            result = batches(step) if loading else fixed
            self.waited += time.perf_counter() - start
            return result

        self.trainer.batches = timed

    def step(self) -> None:
        """Run the next step."""
        self.done += 1
        self.trainer.step(self.done)


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def side(name: str, what: str, batch: int, folder: Path, kind: str) -> None:
    """Run one side in its own process: read a number of steps, write their seconds, and write the peak memory at the end."""
    stage, loading = STAGES.get(what, "train"), what == "end_to_end"
    if kind == "ours":
        machine.keep_freed_memory()  # like `srgan pretrain`
    subject = {"ours": Ours, "plain": PlainLoop}[kind](name, stage, batch, folder, loading)
    print("ready", flush=True)
    for line in sys.stdin:
        wait()
        waited, start = getattr(subject, "waited", 0.0), time.perf_counter()
        for _ in range(int(line)):
            subject.step()
        wait()
        print(time.perf_counter() - start, getattr(subject, "waited", 0.0) - waited, flush=True)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak, flush=True)


class Side:
    """The parent of a process that runs `side`."""

    def __init__(self, name: str, what: str, batch: int, folder: Path, kind: str) -> None:
        command = [
            sys.executable,
            __file__,
            "--side",
            kind,
            "--model",
            name,
            "--what",
            what,
            "--batch",
            str(batch),
            "--folder",
            str(folder),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def _read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit("benchmarks/train.py: one side failed, see above")
        return line

    def steps(self, count: int) -> tuple[float, float]:
        """Return the seconds of a step and the seconds that it waited for data."""
        assert self.process.stdin
        print(count, file=self.process.stdin, flush=True)
        seconds, waited = map(float, self._read().split())
        return seconds / count, waited / count

    def end(self) -> float:
        """End the process and return its peak memory in bytes."""
        assert self.process.stdin
        self.process.stdin.close()
        peak = float(self._read())
        self.process.wait()
        return peak


def compare(name: str, what: str, batch: int, folder: Path, rounds: int, peak: float) -> list[str]:
    """Run both sides alternately, print a summary and return the result lines."""
    sides = {kind: Side(name, what, batch, folder, kind) for kind in ("plain", "ours")}
    count = 1
    for subject in sides.values():  # warm up, then time as many steps as take a second
        subject.steps(1)
        seconds, _ = subject.steps(2)
        count = max(count, round(1 / seconds))
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in sides}
    for _ in range(rounds):
        for kind, subject in sides.items():
            times[kind].append(subject.steps(count))
    median = {kind: statistics.median(seconds for seconds, _ in found) for kind, found in times.items()}
    memory = {kind: subject.end() for kind, subject in sides.items()}
    label = what if name == "srgan" else f"{name}_{what}"
    ratio = median["plain"] / median["ours"]
    line = f"{label}: ours {1e3 * median['ours']:.1f} ms ({batch / median['ours']:,.1f} images/s), plain {1e3 * median['plain']:.1f} ms"
    line += f"; {memory['ours'] / 1e9:.2f} and {memory['plain'] / 1e9:.2f} GB"
    lines = [f"ratio {label} {ratio:.2f}", f"value {label}_images_per_second {batch / median['ours']:.2f}"]
    if what == "end_to_end":
        share = statistics.median(waited / seconds for seconds, waited in times["ours"])
        line += f"; {100 * share:.2f} % of our time waiting for data"
        lines.append(f"value {label}_waiting_percent {100 * share:.2f}")
    else:
        work = flops(name, STAGES[what], batch, folder)
        speed = work / median["ours"]
        line += f"; {work / 1e12:.2f} TFLOP a step: {speed / 1e9:,.0f} GFLOP/s, {100 * speed / peak:.0f} % of the peak"
        lines.append(f"value {label}_peak_percent {100 * speed / peak:.1f}")
    lines.append(f"value {label}_memory_gb {memory['ours'] / 1e9:.2f}")
    print(line, flush=True)
    return lines


def flops(name: str, stage: str, batch: int, folder: Path) -> float:
    """Return the FLOPs of the convolutions of one step without recomputation, counted with two images."""
    subject = Ours(name, stage, 2, folder, loading=False, precision="fp32", compile="off")
    if isinstance(subject.trainer.generator, SRResNet):
        subject.trainer.generator.optimize_graph = False
    with FlopCounterMode(display=False) as counter:
        subject.step()
    return counter.get_total_flops() / 2 * batch


def measured_peak() -> float:
    """Return the peak FLOP/s of the device: the faster of a large matrix product and a 3x3 convolution in the trainer's precision."""
    device = pick_device()
    dtype = pick_precision("auto", device)
    size = 8192 if device.type == "cuda" else 2048
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    side = 256 if device.type == "cuda" else 96
    image = torch.randn(16, 64, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    layer = nn.Conv2d(64, 64, 3, padding=1, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        product = 2 * size**3 / fastest(lambda: first @ second)
        convolution = 2 * 9 * 64 * 64 * image.shape[0] * side**2 / fastest(lambda: layer(image))
    rates = f"{product / 1e9:,.0f} GFLOP/s in a product, {convolution / 1e9:,.0f} in a convolution"
    print(f"peak in {dtype}: {rates}", flush=True)
    return max(product, convolution)


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of twelve runs."""
    times = []
    for _ in range(12):
        wait()
        start = time.perf_counter()
        for _ in range(5):
            run()
        wait()
        times.append((time.perf_counter() - start) / 5)
    return min(times)


def curves(name: str, batch: int, folder: Path) -> None:
    """Compare the loss of 200 pixel steps in bf16 with float32 and with other patches."""
    losses: dict[str, list[float]] = {}
    for label, precision, shift in (("fp32", "fp32", 0), ("bf16", "bf16", 0), ("other crops", "fp32", 10_000)):
        subject = Ours(name, "pretrain", batch, folder, loading=True, precision=precision)
        found = []
        for step in range(1, 201):
            subject.trainer.step(shift + step)
            found.append(subject.trainer.running_sums[f"loss_{subject.trainer.objective.pixel}"])
            subject.trainer.running_sums.clear()
        losses[label] = [value.item() for value in found]
    tail = {label: statistics.mean(values[-50:]) for label, values in losses.items()}
    print(", ".join(f"{label} {value:.5f}" for label, value in tail.items()) + ": mean pixel loss of the last 50 of 200 steps")
    for label in ("bf16", "other crops"):
        print(f"value difference_{label.replace(' ', '_')}_percent {100 * abs(tail[label] / tail['fp32'] - 1):.2f}")


def profile(name: str, what: str, batch: int, folder: Path, trace: Path) -> None:
    """Profile one step by operator."""
    subject = Ours(name, STAGES[what], batch, folder, loading=True)
    for _ in range(3):
        subject.step()
    wait()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as recorded:
        subject.step()
        wait()
    recorded.export_chrome_trace(str(trace))
    print(recorded.key_averages().table(sort_by=f"self_{pick_device().type}_time_total", row_limit=25, max_name_column_width=50))


def main() -> None:
    """Run the comparisons and print the ratios last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*PROFILES, "both"], default="both")
    parser.add_argument("--what", choices=[*STAGES, "end_to_end", "all"], default="all")
    parser.add_argument("--batch", type=int, help="default: 16, or 4 for ESRGAN on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", type=Path, metavar="FILE", help="profile a step of --model and --what")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--side", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        side(given.model, given.what, given.batch, given.folder, given.side)
        return
    names = ["srgan", "esrgan"] if given.model == "both" else [given.model]
    cuda = torch.cuda.is_available()
    batches = {name: given.batch or (16 if cuda or name == "srgan" else 4) for name in names}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_data(folder)
        if given.profile:
            profile(names[0], "gan_step" if given.what == "all" else given.what, batches[names[0]], folder, given.profile)
            return
        if given.curves:
            curves(names[0], batches[names[0]], folder)
            return
        peak, lines = measured_peak(), []
        for name in names:
            for what in (*STAGES, "end_to_end") if given.what == "all" else [given.what]:
                lines += compare(name, what, batches[name], folder, given.rounds, peak)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
