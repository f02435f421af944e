"""Measure the monitoring of a service with real images: ``python benchmarks/monitor.py FOLDER`` (half an hour on two cores).

FOLDER has at least 100 photographs, in subfolders or not. The parts run one after the other, or those that ``--only`` names:

drift
    The photographs are halved: one half is the training, the other the service. 20 clean streams of 1,000 crops, and 20 that turn to
    JPEG quality 30 at number 500.
trial
    A service gets crops from one client. The challenger is brighter by 4 levels, or has a grid, as shadow and as canary. A fifth of
    the requests is in the share.
time
    The time of requests outside the share with monitoring and a shadow, against a service without. Both services run at the same time
    and get requests in turn.

The last lines are ``value NAME VALUE`` and ``ratio NAME VALUE``.
"""

import argparse
import contextlib
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image

from srgan.data.estimate import LUMA, measure_pixels
from srgan.data.left_out import LeftOut
from srgan.data.walk import images_below
from srgan.export import onnx
from srgan.images.read import read_rgb
from srgan.models.registry import build_generator
from srgan.monitoring.drift import Drift
from srgan.monitoring.figures import INPUT, Figures, of_image
from srgan.utils.machine import processes
from srgan.utils.workers import Lost, Workers

STREAM, TURN, STREAMS = 1000, 500, 20
SIDES = 96, 161  # pixels of a crop
QUALITY = 30
SHARE = 5  # one in five requests
TIMED = 150  # requests to each service


def main() -> None:
    """Run the parts and print the values last."""
    parser = argparse.ArgumentParser(description="Measure the monitoring of a service.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("drift", "trial", "time"))
    chosen = parser.parse_args()
    paths = images_below(chosen.folder, LeftOut())
    np.random.default_rng(0).shuffle(paths)
    for name, part in (("drift", drift), ("trial", trial), ("time", times)):
        if chosen.only in (None, name):
            for line in part(paths):
                print(line, flush=True)


# -- drift -----------------------------------------------------------------------------------------------------------------


def drift(paths: list[Path]) -> Iterator[str]:
    """Count the alarms of streams of figures."""
    half, random = len(paths) // 2, np.random.default_rng(1)
    training = [(path, seed, 0) for seed, path in enumerate(paths[:half] * 2)]
    service = [(path, seed, 0) for seed, path in enumerate(paths[half:] * (STREAM // half + 1), 10_000)][:STREAM]
    turned = [(path, seed, QUALITY) for path, seed, _ in service[: STREAM // 2]]
    with Workers(measured, processes()) as workers:
        found = list(workers.map([*training, *service, *turned]))
    if lost := next((one for one in found if isinstance(one, Lost)), None):
        sys.exit(f"an image is not measured: {lost.reason}")
    training_figures = found[: len(training)]
    clean, bad = found[len(training) : len(training) + STREAM], found[len(training) + STREAM :]
    reference = {name: [figures[name] for figures in training_figures] for name in INPUT}
    for name in INPUT:
        medians = (np.nanmedian(np.array([one[name] for one in part], float)) for part in (training_figures, clean, bad))
        print(f"{name}: median {', '.join(f'{median:.2f}' for median in medians)} (training, service, turned)")
    alarms = sum(first_alarm(reference, random.permutation(np.array(clean))) is not None for _ in range(STREAMS))
    delays = []
    for _ in range(STREAMS):
        stream = [*random.permutation(np.array(clean))[:TURN], *random.permutation(np.array(bad))]
        first = first_alarm(reference, stream)
        delays.append(STREAM if first is None or first < TURN else first - TURN + 1)
    yield f"value alarms_in_{STREAMS}_clean_streams {alarms}"
    yield f"value most_images_until_alarm {max(delays)}"


def measured(item: tuple[Path, int, int]) -> Figures:
    """Return the figures of a crop, which is compressed if the last number is above 0."""
    luma = crop(*item) @ np.array(LUMA)
    return of_image(measure_pixels(luma))


def crop(path: Path, seed: int, quality: int = 0) -> np.ndarray:
    """Return a random crop of a photograph in half of its size, so that traces of its own compression vanish."""
    random, pixels = np.random.default_rng(seed), read_rgb(path)
    image = Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2), Image.Resampling.BICUBIC)
    width, height = (min(int(random.integers(*SIDES)), side) for side in image.size)
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    cut = image.crop((left, top, left + width, top + height))
    if quality:
        cut.save(buffer := io.BytesIO(), "JPEG", quality=quality)
        cut = Image.open(buffer)
    return np.asarray(cut)


def first_alarm(reference: dict[str, list[float | None]], stream: list[Figures]) -> int | None:
    """Return the number of the image that raises the first alarm, from 0."""
    tested = Drift(reference)
    return next((number for number, figures in enumerate(stream) if any(look.alarm for look in tested.add(figures))), None)


# -- services --------------------------------------------------------------------------------------------------------------


def trial(paths: list[Path]) -> Iterator[str]:
    """Count the requests until a bad challenger is rolled back."""
    for damage, values in (("shift", (4, 0)), ("grid", (0, 8))):
        for mode in ("shadow", "canary"):
            with tempfile.TemporaryDirectory() as folder:
                good, bad = written(Path(folder), "good"), written(Path(folder), "bad", *values)
                options = ["--monitor", f"{folder}/monitor", "--challenger", str(bad), "--share", str(1 / SHARE)]
                with served(good, *options, *(["--canary"] if mode == "canary" else [])) as client:
                    number = failures = by_challenger = 0
                    while "srgan_trial_active 1.0" in client.get("/metrics").text and number < 1000:
                        answer = client.post("/upscale", content=png(paths, number))
                        failures += answer.status_code != 200
                        by_challenger += answer.headers.get("Srgan-Model", "").startswith(bad.name)
                        number += 1
            yield f"value requests_until_rollback_{damage}_{mode} {number}"
            yield f"value answered_by_challenger_{damage}_{mode} {by_challenger}"
            yield f"value failed_requests_{damage}_{mode} {failures}"


def times(paths: list[Path]) -> Iterator[str]:
    """Compare the time of requests outside the share."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        good, other = written(Path(folder), "good"), written(Path(folder), "other", 0.1)
        plain = stack.enter_context(served(good))
        options = ["--monitor", f"{folder}/monitor", "--challenger", str(other), "--share", str(1 / SHARE)]
        watched = stack.enter_context(served(good, *options))
        taken: dict[str, list[float]] = {"plain": [], "watched": []}
        for number in range(TIMED):
            for name, client in (("plain", plain), ("watched", watched))[:: 1 if number % 2 else -1]:
                content = png(paths, number)
                start = time.perf_counter()
                assert client.post("/upscale", content=content).status_code == 200
                if number >= 10 and number % SHARE != SHARE - 1:
                    taken[name].append(time.perf_counter() - start)
        state = watched.get("/metrics").text
    for name, values in taken.items():
        yield f"value p50_seconds_{name} {statistics.median(values):.4f}"
        yield f"value p90_seconds_{name} {np.percentile(values, 90):.4f}"
    left_out = re.search(r"^srgan_observations_left_out\S* (\S+)$", state, re.MULTILINE)
    yield f"value left_out {left_out[1] if left_out else 'unknown'}"
    yield f"ratio time_outside_the_share {statistics.median(taken['watched']) / statistics.median(taken['plain']):.3f}"


def written(folder: Path, name: str, levels: float = 0, grid: float = 0) -> Path:
    """Write a network of 32 features and 8 layers that interpolates, with damaged results. Random weights have a grid of their own."""
    torch.manual_seed(0)
    model = build_generator("compact", scale=4, features=32, depth=8).eval()
    pattern = torch.full((3, 16), float(levels))
    pattern[:, 0] += grid
    pattern -= grid / 16
    with torch.no_grad():
        model.body[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
        model.body[-1].bias.copy_(pattern.flatten() / 255)  # type: ignore[index, operator, union-attr]
    path = folder / f"4x-{name}-compact-fp32.onnx"
    onnx.export_onnx(path, model, {"sr.objective": "gan"})
    return path


def png(paths: list[Path], number: int) -> bytes:
    """Return a crop as a file."""
    buffer = io.BytesIO()
    Image.fromarray(crop(paths[number % len(paths)], number)).save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def served(model: Path, *options: str) -> Iterator[httpx.Client]:
    """Run a service. Yields its client."""
    start = [sys.executable, "-c", "from srgan.commands.main import main; main()", "serve", "--model", str(model), "--port", "0"]
    with (model.parent / f"{time.time_ns()}.log").open("w") as messages:
        service = subprocess.Popen([*start, *options], stderr=messages, text=True)
        try:
            address = None
            while not address and service.poll() is None:
                time.sleep(0.2)
                address = re.search(r"listening on (\S+)", Path(messages.name).read_text())
            assert address, Path(messages.name).read_text()
            with httpx.Client(base_url=address[1], timeout=300) as client:
                yield client
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
