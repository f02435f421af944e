"""Measure the preparation and reading of data: ``python benchmarks/data.py [PART ...]`` (seven minutes on two cores).

- ``photographs``: packed store against PNG files, bicubic against NumPy, and one process against two. Both sides of a comparison run
  alternately in one run. The median counts. The images are noise images of 2040x1356 with the spectrum of photographs.
- ``growth``: ten times as many small images, by processor time and by the memory of the largest process.
- ``store``: a store of 100,000 small images in sparse files.

The last lines are ``ratio NAME VALUE`` (above 1: this project is faster) and ``value NAME VALUE``.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from srgan.data.packed_store import FOLDER, VERSION, Store
from srgan.data.sampler import PatchSampler
from srgan.data.shard_cache import INDEX
from srgan.data.shards import image_bytes, joined
from srgan.data.store_writer import SHARD_BYTES
from srgan.degradations import bicubic as degrade
from srgan.utils.files import sha256

SCALE, PATCH, BATCH = 4, 96, 16
FEW, MANY = 20, 200  # images
SMALL, SMALL_SIDE = 300, 96  # images of the smaller set, and their pixels a side
LARGE, LARGE_SIDE = 100_000, 104  # images of the large store
PREPARE = """
import resource, sys
from pathlib import Path
from srgan.data.prepare import prepare
from srgan.config.data import Prepare
from srgan.utils.machine import keep_freed_memory
if __name__ == "__main__":
    keep_freed_memory()  # like `srgan prepare`
    options = Prepare(scale=4, kernel="matlab", validation=0.01, test=0, seed=0, max_unreadable=0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), options, int(sys.argv[3]))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in used) - before.ru_utime - before.ru_stime
    print(seconds, max(each.ru_maxrss for each in used) / 1e3)  # MB
"""


def photograph(seed: int, height: int = 1356, width: int = 2040) -> np.ndarray:
    """Return noise at all sizes with stronger coarse parts."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(9):
        noise = random.normal(0, 3 * 1.45**octave, (height // 2**octave + 1, width // 2**octave + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def make_raw(folder: Path, count: int, start: int = 0, height: int = 1356, width: int = 2040) -> Path:
    """Write `count` images like `srgan download`, with the last one for tests."""
    images = []
    for number in range(count):
        split = "test" if number == count - 1 else "train"
        path = folder / split / "noise" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(start + number, height, width)).save(path, compress_level=3)
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
    child = _started(raw, out, processes)
    child.communicate()
    if child.returncode:
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
    return psutil.Popen(command, stdout=subprocess.PIPE, text=True)


def growth(folder: Path) -> dict[str, float]:
    """Return how processor time and memory of a preparation grow with ten times the images."""
    found = []
    for count in (SMALL, 10 * SMALL):
        raw = make_raw(folder / str(count), count, start=count, height=SMALL_SIDE, width=SMALL_SIDE)
        answer, _ = _started(raw, folder / "out", 1).communicate()
        seconds, memory = map(float, answer.split())
        found.append((seconds, memory))
        print(
            f"prepare {count:,} images of {SMALL_SIDE}x{SMALL_SIDE}: {seconds:.1f} s of a processor, {memory:.0f} MB in the largest process"
        )
    (few, less), (many, more) = found
    return {"small_10x_processor": many / few, "small_10x_memory": more / less}


def large_store(folder: Path) -> dict[str, float]:
    """Return the seconds to open a store of many small images, and its patches for each second of a processor."""
    write_sparse(folder / FOLDER)
    opened = in_turn({"open": lambda: Store(folder)}, 3)["open"]
    start = time.process_time()
    store = Store(folder)
    by_processor = time.process_time() - start
    patches = PatchSampler(store, BATCH, PATCH, seed=0)
    for step in range(200):
        patches(step)
    start, steps = time.process_time(), 2000
    for step in range(200, 200 + steps):
        patches(step)
    rate = BATCH * steps / (time.process_time() - start)
    size = f"{LARGE_SIDE}x{LARGE_SIDE}"
    print(
        f"store of {LARGE:,} images of {size}: opens in {opened:.2f} s ({by_processor:.2f} s of a processor), {rate:,.0f} patches a second"
    )
    return {"store_open_seconds": opened, "store_open_processor": by_processor, "store_patches_per_core": rate}


def write_sparse(folder: Path) -> None:
    """Write a store of black images, whose shards need no place on the disk."""
    folder.mkdir()
    size = image_bytes(LARGE_SIDE, LARGE_SIDE, SCALE, 1)
    images = [
        {"name": f"noise/{number:06}", "height": LARGE_SIDE, "width": LARGE_SIDE, "sha256": f"{number:064x}"} for number in range(LARGE)
    ]
    listed = []
    for number, first in enumerate(range(0, LARGE, SHARD_BYTES // size)):
        rows = [image | {"offset": size * place} for place, image in enumerate(images[first : first + SHARD_BYTES // size])]
        shard = {"name": f"{number:05}", "bytes": size * len(rows), "images": len(rows), "sha256": joined(rows)}
        with (folder / f"{number:05}.u8").open("wb") as file:
            file.truncate(shard["bytes"])
        (folder / f"{number:05}.json").write_text(json.dumps({"sha256": shard["sha256"], "images": rows}))
        listed.append(shard)
    index = {"version": VERSION, "scale": SCALE, "variants": 1, "sha256": joined(images), "shards": listed}
    (folder / INDEX).write_text(json.dumps(index))


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def photographs(folder: Path) -> dict[str, float]:
    """Run the comparisons with large images and return their ratios."""
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
    return {"prepare_10x_time": longer / two, "prepare_10x_memory": more / memory}


PARTS = {"photographs": photographs, "growth": growth, "store": large_store}


def main() -> None:
    """Run the parts and print the values last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    values: dict[str, float] = {}
    for part in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as name:
            values |= PARTS[part](Path(name))
    for label, value in values.items():
        print(f"value {label} {value:.3f}")


if __name__ == "__main__":
    main()
