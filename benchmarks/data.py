"""Measure the preparation and reading of data: ``python benchmarks/data.py`` (four minutes on two cores).

Both sides of a comparison run alternately in one run. The median counts. The last lines are ``ratio NAME VALUE`` (above 1: this
project is faster) and ``value NAME VALUE``. The images are different noise images of 2040x1356 with the spectrum of photographs.
"""

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.degradations import bicubic as degrade
from srgan.utils.files import sha256

SCALE, PATCH, BATCH = 4, 96, 16
FEW, MANY = 20, 200  # images
PREPARE = """
import sys
from pathlib import Path
from srgan.data.prepare import prepare
from srgan.config.data import Prepare
from srgan.utils.machine import keep_freed_memory
if __name__ == "__main__":
    keep_freed_memory()  # like `srgan prepare`
    options = Prepare(scale=4, kernel="matlab", validation=0.01, test=0, seed=0, max_unreadable=0)
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), options, int(sys.argv[3]))
"""


def photograph(seed: int, height: int = 1356, width: int = 2040) -> np.ndarray:
    """Return noise at all sizes with stronger coarse parts."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(9):
        noise = random.normal(0, 3 * 1.45**octave, (height // 2**octave + 1, width // 2**octave + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def make_raw(folder: Path, count: int, start: int = 0) -> Path:
    """Write `count` images like `srgan download`, with the last one for tests."""
    images = []
    for number in range(count):
        split = "test" if number == count - 1 else "train"
        path = folder / split / "noise" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(start + number)).save(path, compress_level=3)
        record = {
            "path": str(path.relative_to(folder)),
            "set": "noise",
            "split": split,
            "sha256": sha256(path),
            "group": "",
            "licence": "none",
        }
        images.append(record)
    (folder / "manifest.json").write_text(json.dumps({"images": images}))
    return folder


def in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each side after one warm-up run."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def crops(prepared: Path, folder: Path) -> float:
    """Return samples per second from the packed store and from PNG sub-images of 480x480."""
    paths = []
    for number, hr_image in enumerate(Store(prepared).hr[:8]):
        for part in range(8):
            paths.append(folder / f"{number}-{part}.png")
            top, left = (part // 4) * 480, (part % 4) * 480
            Image.fromarray(hr_image[top : top + 480, left : left + 480]).save(paths[-1])
    random, batches = np.random.default_rng(0), PatchSampler(Store(prepared), BATCH, PATCH, seed=0)

    def decode() -> None:
        for path in random.choice(paths, 64):
            image = np.asarray(Image.open(path))
            top, left = random.integers(480 - PATCH, size=2)
            np.ascontiguousarray(image[top : top + PATCH, left : left + PATCH])

    def store() -> None:
        for step in range(250):
            batches(step)

    seconds = in_turn({"png": decode, "store": store}, 5)
    rates = {"png": 64 / seconds["png"], "store": 250 * BATCH / seconds["store"]}
    print(f"patches of {PATCH}x{PATCH}: {rates['store']:,.0f} samples/s from the store, {rates['png']:,.0f} from PNG (Pillow)")
    return rates["store"] / rates["png"]


def numpy_downscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Return MATLAB's bicubic in plain NumPy: the sum of the weighted neighbors along each axis."""

    def along(pixels: np.ndarray) -> np.ndarray:
        size = len(pixels)
        centre = (np.arange(size // scale) + 0.5) * scale - 0.5
        index = np.floor(centre - 2 * scale).astype(int)[:, None] + 1 + np.arange(4 * scale)
        x = np.abs(centre[:, None] - index) / scale
        weights = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
        weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])[index % (2 * size)]
        result = np.zeros((len(centre), *pixels.shape[1:]), np.float32)
        for tap in range(4 * scale):
            result += weights[:, tap, None, None] * pixels[mirrored[:, tap]]
        return result

    rows = along(image.astype(np.float32))
    both = along(np.ascontiguousarray(rows.transpose(1, 0, 2))).transpose(1, 0, 2)
    return both.clip(0, 255).round().astype(np.uint8)


def bicubic() -> float:
    """Measure one LR image."""
    image = photograph(0)
    difference = np.abs(degrade.bicubic_downscale(image, SCALE).astype(int) - numpy_downscale(image, SCALE)).max()
    sides = {"ours": lambda: degrade.bicubic_downscale(image, SCALE), "numpy": lambda: numpy_downscale(image, SCALE)}
    seconds = in_turn(sides, 9)
    print(
        f"bicubic 1/{SCALE} of 2040x1356: {1e3 * seconds['ours']:.1f} ms, NumPy {1e3 * seconds['numpy']:.1f} ms, at most {difference} apart"
    )
    return seconds["numpy"] / seconds["ours"]


def prepare(raw: Path, out: Path, processes: int) -> float:
    """Return the seconds of one preparation in a new interpreter."""
    start = time.perf_counter()
    if _started(raw, out, processes).wait():
        sys.exit("benchmarks/data.py: srgan prepare failed, see above")
    return time.perf_counter() - start


def peak_memory(raw: Path, out: Path, processes: int) -> float:
    """Return the peak resident memory of all processes in MB. This is a separate run because the polling takes processor time."""
    child, peak = _started(raw, out, processes), 0
    while child.poll() is None:
        resident = 0
        for process in (child, *_descendants(child)):
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += process.memory_info().rss
        peak = max(peak, resident)
        time.sleep(0.02)
    return peak / 1e6


def _started(raw: Path, out: Path, processes: int) -> psutil.Popen:
    command = [sys.executable, "-c", PREPARE, raw, out, str(processes)]
    return psutil.Popen(command)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Run all comparisons and print the ratios last."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = make_raw(folder / "few", FEW)
        out = folder / "prepared"
        seconds = in_turn({"one": lambda: prepare(few, out, 1), "two": lambda: prepare(few, out, 2)}, 3)
        one, two = seconds["one"], seconds["two"]
        print(f"prepare {FEW} images of 2040x1356: {one:.2f} s with one process, {two:.2f} s with two")
        (folder / "subimages").mkdir()
        ratios = {"crops": crops(out, folder / "subimages"), "bicubic": bicubic(), "prepare_two_cores": one / two}
        many = make_raw(folder / "many", MANY, start=1000)
        longer = prepare(many, out, 2)
        memory, more = peak_memory(few, out, 2), peak_memory(many, out, 2)
        print(f"prepare {MANY}: {longer:.2f} s and {more:.0f} MB at most with two processes, {FEW}: {two:.2f} s and {memory:.0f} MB")
    for label, value in ratios.items():
        print(f"ratio {label} {value:.2f}")
    print(f"value prepare_10x_time {longer / two:.2f}")
    print(f"value prepare_10x_memory {more / memory:.3f}")


if __name__ == "__main__":
    main()
