"""Measure degradations: ``python benchmarks/degrade.py`` (three minutes on two cores).

The inputs of a training step are made by the recipe `realesrgan` from 8 patches of 96 pixels. The other side makes them image by image
with OpenCV, NumPy and Pillow, in the way of BasicSR: every kernel has 21 pixels, and the noise is NumPy's Gaussian and Poisson noise.
Both sides draw their parameters in the same way. They and the pre-training step of the compact network (64 channels, 10 layers, fp32)
run alternately in one run, and the median counts.

On one core each side has one thread. On two cores this project has two threads, which share the images of a batch. The other side has two
processes, each of which makes every second batch, as the workers of a data loader do. A training step has as many threads as this
project. `ratio degrade_two_cores_one_script` compares the two threads with the other side in one process. The last lines are ``ratio NAME
VALUE`` (above 1: this project is faster) and ``value NAME VALUE``.

    --profile    only print where the time of our side is spent
"""

import argparse
import cProfile
import functools
import io
import multiprocessing
import pstats
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.special import j1

from data import in_turn, photograph
from srgan.config.training import Pretrain, StageRuntime
from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.data.store_writer import StoreWriter, pack
from srgan.degradations.base import Drawing, Draws
from srgan.degradations.bicubic import bicubic_downscale
from srgan.degradations.recipe import Plan, Recipe
from srgan.models.compact import Compact
from srgan.training.trainer import Trainer
from srgan.utils import machine

SCALE, PATCH, BATCH = 4, 96, 8
STEPS = 10  # batches that each round makes
INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def plain_kernel(drawn: dict) -> np.ndarray:
    """Return a kernel, padded to 21 pixels."""
    half = drawn["size"] // 2
    x, y = np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1))
    if drawn["kind"] == "sinc":
        distance = np.hypot(x, y)
        distance[half, half] = 1
        kernel = drawn["cutoff"] * j1(drawn["cutoff"] * distance) / (2 * np.pi * distance)
        kernel[half, half] = drawn["cutoff"] ** 2 / (4 * np.pi)
    else:
        turn = np.array([[np.cos(drawn["angle"]), -np.sin(drawn["angle"])], [np.sin(drawn["angle"]), np.cos(drawn["angle"])]])
        inverse = np.linalg.inv(turn @ np.diag(np.square(drawn["sigma"])) @ turn.T)
        positions = np.stack([x, y], -1)
        powers = np.sum(positions @ inverse * positions, 2) ** drawn["beta"]
        kernel = 1 / (1 + powers) if drawn["kind"].startswith("plateau") else np.exp(-0.5 * powers)
    return np.pad(kernel / kernel.sum(), 10 - half)


def plain_noise(image: np.ndarray, drawn: dict) -> np.ndarray:
    """Return an image with Gaussian or Poisson noise."""
    shape = (*image.shape[:2], 1) if drawn["grey"] else image.shape
    if drawn["kind"] == "gaussian":
        noise = np.random.randn(*shape) * (drawn["strength"] / 255)
    else:
        light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] if drawn["grey"] else image
        light = np.clip((light * 255).round(), 0, 255) / 255
        photons = 2 ** np.ceil(np.log2(len(np.unique(light))))
        noise = (np.random.poisson(light * photons) / photons - light) * drawn["strength"]
    return np.clip(image + noise, 0, 1).astype(np.float32)


def plain_jpeg(image: np.ndarray, drawn: dict) -> np.ndarray:
    """Return an image after compression by libjpeg."""
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "jpeg", quality=drawn["quality"], subsampling=drawn["subsampling"])
    return np.asarray(Image.open(file)).astype(np.float32) / 255


def plain(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Apply a plan to one image."""
    for step in plan:
        drawn = step.drawn
        if step.name == "blur":
            image = np.clip(cv2.filter2D(image, -1, plain_kernel(drawn), borderType=cv2.BORDER_REFLECT), 0, 1)
        elif step.name in ("resize", "downscale"):
            image = cv2.resize(image, (drawn["width"], drawn["height"]), interpolation=INTERPOLATIONS[drawn["mode"]])
            image = np.clip(image, 0, 1)
        elif step.name == "noise":
            image = plain_noise(image, drawn)
        else:
            image = plain_jpeg(image, drawn)
    return (image * 255).round() / 255


def patches() -> torch.Tensor:
    """Return patches `(8, 3, 96, 96)`."""
    image = photograph(0, 4 * PATCH, 2 * PATCH).astype(np.float32) / 255
    parts = [image[top : top + PATCH, left : left + PATCH] for top in range(0, 4 * PATCH, PATCH) for left in (0, PATCH)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).contiguous()


def plain_batch(step: int) -> list[np.ndarray]:
    """Return the inputs of a training step, made image by image."""
    return [plain(*pair) for pair in zip(images(), plans_of(recipe(), step), strict=True)]


@functools.cache
def recipe() -> Recipe:
    """Return the recipe of both sides."""
    return Recipe("realesrgan")


@functools.cache
def images() -> list[np.ndarray]:
    """Return the patches as OpenCV takes them."""
    return [np.ascontiguousarray(patch.permute(1, 2, 0).numpy()) for patch in patches()]


def plans_of(recipe: Recipe, step: int) -> list[Plan]:
    """Draw the parameters of a batch."""
    rows = np.random.default_rng(step).random((BATCH, 512)).tolist()
    return [recipe.draw(Drawing(Draws(row), PATCH, PATCH, (PATCH // SCALE,) * 2, patch=True)) for row in rows]


def trainer(folder: Path) -> Trainer:
    """Return the trainer of a compact network with the default options."""
    with StoreWriter(folder, SCALE) as writer:
        hr_image = photograph(0, 480, 480)
        writer.add("0", pack(folder / "0.u8", hr_image, bicubic_downscale(hr_image, SCALE)))
    options = Pretrain(steps=1000, batch_size=BATCH, patch_size=PATCH, precision="fp32")
    batches = PatchSampler(Store(folder), BATCH, PATCH, seed=0)
    return Trainer(options, StageRuntime(), Compact(SCALE, 64, 10), None, batches, [], pretrained_losses=False)


def profile(hr_patches: torch.Tensor) -> None:
    """Print the functions that take the most time on one core."""
    start(1)
    profiler = cProfile.Profile()
    recipe().degrade_patches(hr_patches, SCALE, 0, 0)
    profiler.enable()
    for step in range(100):
        recipe().degrade_patches(hr_patches, SCALE, 0, step)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def on(threads: int, work: Callable[[], object]) -> Callable[[], object]:
    """Return a function that does the work with this number of threads."""

    def run() -> None:
        start(threads)
        work()

    return run


def start(threads: int) -> None:
    """Set the threads of PyTorch and OpenCV, and keep freed memory as the training does."""
    machine.keep_freed_memory()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def main() -> None:
    """Run the comparison and print the ratios last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    hr_patches = patches()
    if parser.parse_args().profile:
        profile(hr_patches)
        return
    steps = iter(range(1, 1000))
    workers = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), start, (1,))
    with tempfile.TemporaryDirectory() as name, workers:
        training = trainer(Path(name))
        sides = {}
        for cores, make in ((1, map), (2, workers.map)):
            sides |= {
                f"ours {cores}": on(cores, lambda: [recipe().degrade_patches(hr_patches, SCALE, 0, step) for step in range(STEPS)]),
                f"plain {cores}": on(1, lambda make=make: list(make(plain_batch, range(STEPS)))),
                f"step {cores}": on(cores, lambda: training.step(next(steps))),
            }
        seconds = in_turn(sides, 15)
    results = []
    for cores, words in ((1, "one core"), (2, "two cores")):
        ours, other, step = seconds[f"ours {cores}"] / STEPS, seconds[f"plain {cores}"] / STEPS, seconds[f"step {cores}"]
        times = f"ours {1e3 * ours:.1f} ms, image by image {1e3 * other:.1f} ms, a step {1e3 * step:.1f} ms"
        print(f"{BATCH} patches of {PATCH} on {words}: {times}")
        label = words.replace(" ", "_")
        results += [f"ratio degrade_{label} {other / ours:.2f}", f"value degrade_step_percent_{label} {100 * ours / step:.1f}"]
    results.append(f"ratio degrade_two_cores_one_script {seconds['plain 1'] / seconds['ours 2']:.2f}")
    print(*sorted(results), sep="\n")


if __name__ == "__main__":
    main()
