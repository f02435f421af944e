"""Compute what preparing, training on and upscaling many images takes, from rates that are measured on this machine."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.download.catalog import DATA_SETS
from srgan.data.inputs import Input, variants
from srgan.data.manifest import FILE
from srgan.data.near_duplicates import References
from srgan.data.packed_store import Store
from srgan.data.prepare import BENCHMARKS
from srgan.data.prepare_image import Task, prepare_one
from srgan.data.sampler import PatchSampler
from srgan.data.store_writer import SHARD_BYTES, StoreWriter
from srgan.degradations.recipe import Recipe
from srgan.distributed.device import pick_device
from srgan.inference.remote import GROUP
from srgan.inference.upscaler import Upscaler
from srgan.tuning import estimate
from srgan.tuning.failures import Conditions, simulate
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json_or_none

IMAGES = 24  # that are prepared for the measurement
DRAWS = 200  # batches
SIDE, RUNS = 256, 3  # pixels of an image, and how often it is upscaled
MAX_UNITS = 1_000_000  # of a simulation
USUAL = Conditions()


@dataclass(frozen=True)
class Rates:
    """Rates of one core of this machine, or of one device.

    Attributes:
        source: of the measured images.
        bytes: of a file of an image, mean.
        pixels: of an image, mean.
        stored: bytes of a pixel in the store.
        prepare: seconds of a core for a million pixels.
        draw: seconds of a core for a training patch.
        train: seconds of a training step.
        batch: patches of a step.
        patch: side of a patch in pixels.
        upscale: seconds for a million pixels of the image.
        cores: of this machine.
        device: of the training and of upscaling.
    """

    source: str
    bytes: float
    pixels: float
    stored: float
    prepare: float
    draw: float
    train: float
    batch: int
    patch: int
    upscale: float
    cores: int
    device: str

    def __str__(self) -> str:
        draws, steps = 1 / self.draw, 1 / self.train
        return "\n".join(
            [
                f"measured on this machine, with {self.source}: {self.bytes / 1e3:,.0f} kB and {self.pixels / 1e6:.2f} megapixels each",
                f"  prepare: {1 / self.prepare:.3g} megapixels a second and core; patches of the store: {draws:,.0f} a second and core",
                f"  training: {steps:.3g} steps a second with {self.batch} patches of {self.patch} pixels on {self.device}, "
                f"for which {steps * self.batch / draws:.2g} cores draw the patches",
                f"  upscaling: {1 / self.upscale:.3g} megapixels a second on {self.device}",
            ]
        )


@dataclass(frozen=True)
class Row:
    """Bytes and time for a number of images. Seconds are those of all nodes at work.

    Attributes:
        images: their number.
        files: bytes of the images.
        store: bytes of the packed store.
        shards: of the store.
        prepare: seconds to prepare them.
        train: seconds to train on as many pixels as they have, which is one pass.
        upscale: seconds to upscale them.
    """

    images: int
    files: float
    store: float
    shards: int
    prepare: float
    train: float
    upscale: float


def row(rates: Rates, images: int, nodes: int) -> Row:
    """Return what a number of images takes on a number of nodes like this machine, which share the work evenly."""
    pixels = images * rates.pixels
    store = pixels * rates.stored
    steps = pixels / (rates.batch * rates.patch**2)
    return Row(
        images,
        images * rates.bytes,
        store,
        max(1, round(store / SHARD_BYTES)),
        pixels / 1e6 * rates.prepare / (nodes * rates.cores),
        steps * rates.train / nodes,
        pixels / 1e6 * rates.upscale / nodes,
    )


def table(rates: Rates, images: Sequence[int], nodes: int) -> str:
    """Return the rows as a table of Markdown."""
    on_gpu = rates.device != "cpu"
    head = ["images", "files", "store", "shards", "prepare", "one pass of training", "upscale", "core hours", "GPU hours", "longest part"]
    lines = [head, ["---"] * len(head)]
    for count in images:
        found = row(rates, count, nodes)
        times = {"prepare": found.prepare, "training": found.train, "upscaling": found.upscale}
        on_device = nodes * (found.train + found.upscale) / 3600
        core_hours = nodes * rates.cores * found.prepare / 3600 + (0 if on_gpu else rates.cores * on_device)
        lines.append(
            [
                f"{count:,}",
                _size(found.files),
                _size(found.store),
                f"{found.shards:,}",
                *map(_duration, times.values()),
                f"{core_hours:,.3g}" if core_hours < 1000 else f"{core_hours:,.0f}",
                (f"{on_device:,.3g}" if on_device < 1000 else f"{on_device:,.0f}") if on_gpu else "0",
                max(times, key=lambda name: times[name]),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def losses(rates: Rates, images: int, nodes: int, conditions: Conditions = USUAL) -> str:
    """Return what failures and slow nodes cost, by the simulation of `srgan.tuning.failures`.

    Args:
        rates: of a node.
        images: their number.
        nodes: that share the work.
        conditions: what they suffer.
    """
    found = row(rates, images, nodes)
    slow = f"{conditions.slow:.0%} of the nodes take {conditions.slowness:g} times as long" if nodes > 1 else "no node is slow"
    lines = [
        f"simulated for {images:,} images: a node fails every {conditions.hours:,.0f} hours and works again after "
        f"{conditions.restart / 60:.0f} minutes; {slow}"
    ]
    for part, seconds, units, name in (
        ("prepare by shards", found.prepare, found.shards, f"a shard of {SHARD_BYTES >> 30} GiB"),
        ("prepare by equal shares", found.prepare, nodes, "the share of a node"),
        ("upscale by groups", found.upscale, -(-images // GROUP), f"{GROUP} images"),
    ):
        try:
            lines.append(f"  {part}: {_lost(seconds, units, nodes, name, conditions)}")
        except ValueError as error:
            lines.append(f"  {part}: {error}")
    return "\n".join(lines)


def _lost(seconds: float, units: int, nodes: int, name: str, conditions: Conditions) -> str:
    unit = seconds * nodes / units
    some = min(units, MAX_UNITS)  # the first of so many units give the same shares
    run = simulate(some, unit, nodes, conditions)
    extra, repeated = run.seconds * nodes / (some * unit) - 1, run.repeated / (some * unit)
    return (
        f"{_duration(seconds * (1 + extra))}, {extra:+.1%}. A failure loses {_duration(unit / 2)}, half of {name}; "
        f"{round(run.failures * units / some):,} failures repeat {repeated:.2%} of the work; nodes wait {_duration(run.waited)} at the end"
    )


def measure(project: Project, params: Params, model: str | Path) -> Rates:
    """Measure the rates of this machine, which takes about a minute.

    Args:
        project: its downloaded training images are measured. Without them, the photographs of the demo are.
        params: the whole configuration.
        model: upscales.
    """
    paths, source = _photographs(project)
    train, device, cores = params.train, pick_device().type, machine.cores()

    def clock() -> float:
        """Return the time of a CPU whose cores are all at work, even while other programs use it, or that of a GPU."""
        return time.process_time() / cores if device == "cpu" else time.perf_counter()

    side = train.patch_sizes[-1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels, seconds = _prepare(folder, paths, params)
        store = Store(folder)
        draw = _draw(store, train.batch_size, side)
    sizes = [path.stat().st_size for path in paths]
    return Rates(
        f"{len(paths)} {source}",
        float(np.mean(sizes)),
        pixels / len(paths),
        store.size / pixels,
        seconds / (pixels / 1e6),
        draw,
        1 / estimate.measured_rate(params, "train", clock),
        train.batch_size,
        side,
        _upscale(model, clock),
        cores,
        device,
    )


def _photographs(project: Project) -> tuple[list[Path], str]:
    """Return some training images, from all of the list, and where they are from."""
    listing = read_json_or_none(project.raw / FILE)
    records = listing.get("images", []) if isinstance(listing, dict) else []
    found = [path for record in records if record["split"] == "train" and (path := project.raw / record["path"]).is_file()]
    if found:
        return found[:: -(-len(found) // IMAGES)], f"images of {project.raw}"
    files = [file.local for source in DATA_SETS["sample"].sources["train"] for file in source.files]
    return [path for path in files if path and path.is_file()], "photographs of the data set 'sample'"


def _prepare(folder: Path, paths: Sequence[Path], params: Params) -> tuple[int, float]:
    """Pack images into a store. Return their pixels, and the seconds of a core."""
    options, recipe, count = params.prepare, Recipe(params.prepare.recipe), variants(params.prepare)
    inputs = tuple(Input("images", recipe, None, variant) for variant in range(count))
    tasks = [Task(number, path, "images", str(number), "train", folder, options, inputs) for number, path in enumerate(paths)]
    references = References.load(BENCHMARKS)
    prepare_one(tasks[0], references)  # loads the libraries
    start, pixels = time.process_time(), 0
    with StoreWriter(folder, options.scale, recipe, count, options.channels, options.bits) as writer:
        for task in tasks:
            done = prepare_one(task, references)
            pixels += done.size[0] * done.size[1]
            writer.add_group([(f"{done.label} {factor}", one) for factor, one in done.packed.items()])
    if not pixels:
        raise SrganError(f"{paths[0]} and {len(paths) - 1} others: none of these images can be prepared, so nothing can be measured")
    return pixels, time.process_time() - start


def _draw(store: Store, batch: int, side: int) -> float:
    """Return the seconds of a core for a patch."""
    patches = PatchSampler(store, batch, side, seed=0)
    patches(0)
    start = time.process_time()
    for step in range(1, DRAWS + 1):
        patches(step)
    return (time.process_time() - start) / DRAWS / batch


def _upscale(model: str | Path, clock: Callable[[], float]) -> float:
    """Return the seconds for a million pixels of an image."""
    upscaler = Upscaler(model)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    upscaler.upscale(image)
    start = clock()
    for _ in range(RUNS):
        upscaler.upscale(image)
    return (clock() - start) / RUNS / (SIDE**2 / 1e6)


def _size(size: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}"
    return f"{size / 1e6:,.3g} MB"


def _duration(seconds: float) -> str:
    for unit, name in ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.3g} {name}"
    return f"{seconds:.3g} s"
