"""Helpers of the parts: findings, small trainings, images and times."""

import contextlib
import io
import json
import os
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch

from srgan.config import profiles
from srgan.config.training import StageRuntime
from srgan.data.manifest import Pair
from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.data.store_writer import StoreWriter, pack
from srgan.degradations.bicubic import bicubic_downscale, modcrop
from srgan.images.png import write_png
from srgan.models.registry import build_discriminator, build_generator
from srgan.training import trainer as trainer_module
from srgan.training.checkpoint import Checkpoints
from srgan.training.logger import TrainingLog
from srgan.training.trainer import Trainer

FINDINGS, FILES = "SRGAN_GPU_FINDINGS", "SRGAN_GPU_FILES"  # environment variables: file of the findings of a part, folder of its files
CUDA = torch.cuda.is_available()
CPU_DEVICE = torch.device("cpu")
WIDTH = 16 if CUDA else 8

GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "compact": ("compact", {"features": WIDTH, "depth": 2}),
    "srresnet": ("srresnet", {"features": WIDTH, "depth": 2, "upsampling": "pixelshuffle"}),
    "srresnet-nearest": ("srresnet", {"features": WIDTH, "depth": 1, "upsampling": "nearest"}),
    "srresnet-transposed": ("srresnet", {"features": WIDTH, "depth": 1, "upsampling": "transposed"}),
    "rrdb": ("rrdb", {"features": WIDTH, "growth": 8, "depth": 1}),
    "rrdb-checkpointing": ("rrdb", {"features": WIDTH, "growth": 8, "depth": 1}),
    "srcnn": ("srcnn", {"features": WIDTH}),
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "patch": {"features": WIDTH, "depth": 2},
    "vgg": {"features": WIDTH},
    "unet": {"features": WIDTH},
}
ADVERSARIAL = ("vanilla", "relativistic", "lsgan", "hinge")


# -- findings -----------------------------------------------------------------------------------------------------------------


def finding(kind: str, name: str, text: str, **figures: object) -> None:
    """Print a line and append it to the file of the findings. `kind` is PASS, FAIL or INFO, `name` begins with the part."""
    print(f"{kind} {name}: {text}", flush=True)
    if path := os.environ.get(FINDINGS):
        with Path(path).open("a") as file:
            file.write(json.dumps({"kind": kind, "name": name, "text": text} | figures, default=str) + "\n")


def info(name: str, text: str, **figures: object) -> None:
    """Report a measurement."""
    finding("INFO", name, text, **figures)


def check(condition: object, name: str, text: str, **figures: object) -> None:
    """Report whether a condition holds."""
    finding("PASS" if condition else "FAIL", name, text, **figures)


@contextlib.contextmanager
def attempt(name: str) -> Iterator[None]:
    """Report an exception as a failure and continue after the block."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        finding("FAIL", name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]} ({where})")
        traceback.print_exc()


def needs_cuda(name: str) -> bool:
    """Report that a check is left out on a machine without CUDA. Return whether it is."""
    if not CUDA:
        info(name, "left out, needs a CUDA device")
    return not CUDA


# -- images -------------------------------------------------------------------------------------------------------------------


def photographs(side: int | None = None) -> list[np.ndarray]:
    """Return the photographs of scikit-image's wheel, `(H, W, 3)` uint8, cut to a square of `side` pixels."""
    images = [getattr(skimage.data, name)()[..., :3] for name in ("astronaut", "coffee", "chelsea", "rocket")]
    return [np.ascontiguousarray(image[:side, :side]) for image in images]


def write_store(folder: Path, images: Iterable[np.ndarray], scale: int = 4) -> Store:
    """Write a packed store."""
    folder.mkdir(parents=True, exist_ok=True)
    with StoreWriter(folder, scale) as writer:
        for number, image in enumerate(images):
            hr_image = np.ascontiguousarray(modcrop(image, scale))
            packed = folder / "image.u8"
            writer.add(f"own/{number}", pack(packed, hr_image, bicubic_downscale(hr_image, scale)))
    return Store(folder)


def write_pairs(folder: Path, images: Sequence[np.ndarray], scale: int = 4) -> list[Pair]:
    """Write validation images as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for number, image in enumerate(images):
        hr_image = np.ascontiguousarray(modcrop(image, scale))
        pairs.append(Pair("own", str(number), folder / f"{number}-hr.png", folder / f"{number}-lr.png"))
        write_png(pairs[-1].hr, hr_image)
        write_png(pairs[-1].lr, bicubic_downscale(hr_image, scale))
    return pairs


# -- trainings ----------------------------------------------------------------------------------------------------------------


def build_trainer(
    stage: str,
    generator: str,
    discriminator: str | None,
    store: Store,
    pairs: Sequence[Pair] = (),
    runtime: dict[str, Any] | None = None,
    device: torch.device | None = None,
    **changes: Any,
) -> Trainer:
    """Return a trainer of small networks with the demo's options and `changes`. Two calls give equal trainers."""
    options = getattr(profiles.load("demo"), stage)
    values = {"schedule": {"name": "constant", "warmup": 0}, "lpips": False, "color_jitter": 0.3}
    values |= {"batch_size": 8 if CUDA else 4, "patch_size": 64 if CUDA else 32}
    options = type(options).model_validate(options.model_dump() | values | changes)
    execution = StageRuntime(activation_checkpointing=generator.endswith("checkpointing"), **(runtime or {}))
    name, config = GENERATORS[generator]
    torch.manual_seed(0)
    network = build_generator(name, scale=store.scale, **config)
    opponent = build_discriminator(discriminator, **DISCRIMINATORS[discriminator]) if discriminator else None
    sampler = PatchSampler(store, options.batch_size, options.patch_size, options.seed)
    former = trainer_module.pick_device
    if device is not None:
        trainer_module.pick_device = lambda: device
    try:
        return Trainer(options, execution, network, opponent, sampler, list(pairs), pretrained_losses=False)
    finally:
        trainer_module.pick_device = former


def losses(adversarial: str, perceptual: str = "feature_matching") -> tuple[dict[str, Any], ...]:
    """Return a list of losses of the GAN stage."""
    options = {"layers": {"conv2_2": 1.0}, "weight": 0.1} if perceptual == "vgg19" else {"weight": 0.5}
    return {"name": "l1"}, {"name": perceptual} | options, {"name": adversarial, "weight": 0.02}


def logged_values(trainer: Trainer) -> dict[str, float]:
    """Return the means of the logged values since the last call."""
    means = trainer.running_sums.means()
    found = dict(zip(means.names, means.vector.tolist(), strict=True))
    trainer.running_sums.clear()
    return found


def largest_difference(ours: dict[str, float], theirs: dict[str, float]) -> tuple[float, str]:
    """Return the largest relative difference of losses and gradient norms, and its key."""
    keys = [key for key in theirs if key.startswith(("loss", "gradient"))]
    return max((abs(ours[key] - theirs[key]) / max(abs(theirs[key]), 1e-3), key) for key in keys)


def fit(trainer: Trainer, folder: Path) -> torch.nn.Module:
    """Train to the last step, with checkpoints and logs in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = TrainingLog(folder / "losses.csv", trainer.options.steps, folder.name, folder / "pictures")
    with Checkpoints(folder / "checkpoints", "s", trainer.runtime.checkpoint_every) as checkpoints:
        return trainer.fit(log, checkpoints)


def state_on_cpu(trainer: Trainer) -> dict[str, Any]:
    """Return a copy of a trainer's state for a trainer on the CPU."""
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, map_location="cpu", weights_only=False) | {"random_cuda": None}


# -- times --------------------------------------------------------------------------------------------------------------------


def wait() -> None:
    """Wait for the device."""
    if CUDA:
        torch.cuda.synchronize()


def milliseconds(run: Callable[[], object], repeats: int = 10) -> float:
    """Return the median time of a call, after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def peak_tflops() -> float:
    """Return the rate of a large bf16 matrix product in TFLOP/s."""
    size = 8192 if CUDA else 512
    device = "cuda" if CUDA else "cpu"
    first, second = (torch.randn(size, size, device=device, dtype=torch.bfloat16 if CUDA else torch.float32) for _ in range(2))
    return 2 * size**3 / milliseconds(lambda: first @ second) / 1e9


def temporary() -> Path:
    """Return a new folder. The runner deletes it."""
    return Path(tempfile.mkdtemp())


def save_text(name: str, text: str) -> None:
    """Write a file that is packed with the logs."""
    (Path(os.environ[FILES]) / name).write_text(text)
