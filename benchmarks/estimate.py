"""Compare a training on an estimated recipe with one on a generic recipe: ``SRGAN_MIRROR=FOLDER python benchmarks/estimate.py [CASE ...]``.

A case is a set of photographs whose degradation is hidden: Kodak24, degraded by known steps, or RealSRSet without originals. `srgan data
estimate` sees the degraded photographs alone. The starter x4-photo is then trained twice, with its own recipe and with the estimated one,
with equal steps on T91. Both are applied to the degraded photographs. A case takes three minutes on one core.

The rows have means over the photographs, the last one of each case the difference of both trainings with its 95 % interval.
`consistency` reduces the result, `own` blurs it too as the estimated recipe does, before the comparison with the photograph.

    --work FOLDER   keep trainings here, so that the same command continues or repeats only the scores
    --steps N       steps of the pixel stage and of the GAN stage
    --images N      photographs that are scored
"""

import argparse
import itertools
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from profiles import read
from srgan.config import profiles, render
from srgan.config.project import Project
from srgan.config.recipe import steps_from_json
from srgan.config.recipe_file import load_recipe
from srgan.config.schema import Params
from srgan.data.estimate import estimate, recipe_text
from srgan.degradations.bicubic import modcrop
from srgan.degradations.blur import BlurOptions
from srgan.degradations.recipe import Recipe
from srgan.evaluation.statistics import intervals
from srgan.inference.torch_upscale import upscale
from srgan.metrics.consistency import consistency
from srgan.metrics.lpips import Lpips
from srgan.metrics.niqe import OWN, niqe, read_parameters
from srgan.metrics.psnr_ssim import psnr_ssim_y
from srgan.models.checkpoints import load_generator
from srgan.stages import STAGES
from srgan.starters import catalogue
from srgan.tuning import space
from srgan.utils import files

PROFILE, STARTER, SCALE = "starter-x4-photo", "x4-photo", 4
REAL = "realsrset"
SIDE = 160  # pixels of the middle of a real photograph that is scored

Steps = list[dict[str, Any]]


def blur(sigma: float) -> dict[str, Any]:
    """Return a step that blurs by a Gaussian."""
    return {"name": "blur", "kinds": {"isotropic": 1.0}, "size": (21, 21), "sigma": (sigma, sigma)}


def noise(sigma: float) -> dict[str, Any]:
    """Return a step that adds noise to each colour."""
    return {"name": "noise", "kinds": {"gaussian": 1.0}, "sigma": (sigma, sigma), "grey": 0.0}


def jpeg(quality: int) -> dict[str, Any]:
    """Return a step that compresses."""
    return {"name": "jpeg", "quality": (quality, quality), "subsampling": {"4:2:0": 1.0}}


DOWNSCALE = {"name": "downscale"}
HIDDEN: dict[str, Steps] = {
    "blur1.2-noise8": [DOWNSCALE, blur(1.2), noise(8)],
    "jpeg40": [DOWNSCALE, jpeg(40)],
    "blur2-jpeg70": [DOWNSCALE, blur(2.0), jpeg(70)],
    "blur0.5-noise4-jpeg80": [blur(0.5 * SCALE), DOWNSCALE, noise(4), jpeg(80)],  # within the ranges of the starter's recipe
}


def photographs(case: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield the degraded photographs of a case, each with its original if there is one."""
    if case == REAL:
        for image in read(REAL, None):
            top, left = (max(side - SIDE, 0) // 2 for side in image.shape[:2])
            yield image[top : top + SIDE, left : left + SIDE], None
        return
    recipe = Recipe(steps_from_json(HIDDEN[case]))
    for number, image in enumerate(read("kodak24", None)):
        hr_image = modcrop(image, SCALE)
        yield recipe.degrade(hr_image, SCALE, (number,))[0], hr_image


def estimated(case: str, folder: Path) -> Any:
    """Return the recipe that the degraded photographs alone give."""
    shown = Path(os.environ["SRGAN_MIRROR"]) / "datasets" / REAL if case == REAL else folder / "photographs"
    if case != REAL:
        shown.mkdir(parents=True, exist_ok=True)
        for number, (lr_image, _) in enumerate(photographs(case)):
            Image.fromarray(lr_image).save(shown / f"{number:02}.png")
    text = recipe_text(shown, *estimate(shown))
    print(text, flush=True)
    files.write_text(folder / "recipe.yaml", text)
    return load_recipe(str(folder / "recipe.yaml"))


def reduction(recipe: Any) -> Recipe:
    """Return the reduction, and the mean of the blur that most photographs have."""
    blurs = [blur(sum(step.sigma) / 2) for step in recipe if isinstance(step, BlurOptions) and step.probability > 0.5]
    return Recipe(steps_from_json([DOWNSCALE, *blurs]))


def train(folder: Path, recipe: Any, steps: int) -> torch.nn.Module:
    """Train the starter with a recipe. Return the generator."""
    project = Project(folder)
    changes = {
        "data.train": [{"folder": str(Path(os.environ["SRGAN_MIRROR"]) / "datasets" / "t91")}],
        "data.test": ["set5"],
        "prepare.reduced": [],
        "prepare.recipe": recipe,
        "pretrain.pretrained": STARTER,
        "pretrain.steps": steps,
        "pretrain.batch_size": 8,
        "pretrain.learning_rate": 3.0e-4,
        "pretrain.schedule.warmup": steps // 10,
        "pretrain.ema": 0.99,
        "train.steps": steps,
        "train.schedule.warmup": steps // 10,
        "train.ema": 0.99,
        "runtime.pretrain.validate_every": steps,
        "runtime.train.validate_every": steps,
    }
    params = Params.model_validate(space.changed(profiles.load(PROFILE), changes))
    if not project.generator.is_file():
        project.root.mkdir(parents=True, exist_ok=True)
        files.write_text(project.params, render.render(params, f"benchmarks/estimate.py: {folder.name}"))
        STAGES["download"](project, params)
        STAGES["prepare"](project, params)
        STAGES["pretrain"](project, params, tracked=False)
        STAGES["train"](project, params, tracked=False)
    return load_generator(project.generator)[0].eval()


def compare(case: str, networks: dict[str, torch.nn.Module], rule: Recipe, count: int | None) -> None:
    """Print the scores of the networks on the first photographs, and the difference of the last from the one before."""
    lpips, parameters = Lpips("alex"), read_parameters(OWN)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    for lr_image, hr_image in itertools.islice(photographs(case), count):
        for name, network in networks.items():
            sr_image = upscale(network, lr_image)
            figures = {"niqe": niqe(sr_image, parameters), "consistency": consistency(sr_image, lr_image, SCALE)}
            figures["own"] = peak_signal_noise_ratio(lr_image, rule.degrade(sr_image, SCALE, (0,))[0])
            if hr_image is not None:
                figures |= {"lpips": lpips(sr_image, hr_image, SCALE), "psnr_y": psnr_ssim_y(sr_image, hr_image, SCALE)[0]}
            rows[name].append(figures)
    tables = {name: pd.DataFrame(found) for name, found in rows.items()}
    for name, table in tables.items():
        print(f"{case:22} {name:10} " + "  ".join(f"{key} {value:.4f}" for key, value in table.mean().items()), flush=True)
    before, after = list(tables.values())[-2:]
    texts = [f"{key} {mean:+.4f} ({low:+.4f} to {high:+.4f})" for key, (mean, low, high) in intervals(after - before).items()]
    print(f"{case:22} difference " + "  ".join(texts), flush=True)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*HIDDEN, REAL], metavar="CASE", help=", ".join([*HIDDEN, REAL]))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        generic = train(work / "generic", profiles.load(PROFILE).prepare.recipe, arguments.steps)
        starter = load_generator(catalogue.find(STARTER).weights)[0].eval()
        for case in arguments.cases:
            folder = work / case
            recipe = estimated(case, folder)
            own = train(folder, recipe, arguments.steps)
            with torch.inference_mode():
                compare(case, {"starter": starter, "generic": generic, "estimated": own}, reduction(recipe), arguments.images)


if __name__ == "__main__":
    main()
