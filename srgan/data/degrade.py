"""`srgan degrade`: HR/LR pairs from image files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srgan.config.data import Prepare
from srgan.data.inputs import Input, Record, digest_of_pixels, make_input
from srgan.data.names import unique_names
from srgan.degradations.bicubic import modcrop
from srgan.degradations.recipe import Recipe
from srgan.images.png import write_png
from srgan.images.read import read_image
from srgan.images.search import find_images
from srgan.utils.errors import SrganError
from srgan.utils.files import write_json
from srgan.utils.machine import processes
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

MIN_SIDE = 4  # pixels of an LR image
LIST = "pairs.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An image file, and the files of its pair."""

    source: Path
    hr: Path
    lr: Path


def plan(inputs: list[str], folder: Path) -> list[Job]:
    """Return the images to degrade. Images of one name in several folders get the name of the folder too.

    Raises:
        SrganError: see `find_images`. Or a pair would replace one of the images.
    """
    found = find_images(inputs, folder)
    names = unique_names([inside.as_posix() for inside in found.values()])
    jobs = [Job(source, folder / "HR" / f"{name}.png", folder / "LR" / f"{name}.png") for source, name in zip(found, names, strict=True)]
    images = {source.resolve() for source in found}
    for target in (path for job in jobs for path in (job.hr, job.lr)):
        if target.resolve() in images:
            raise SrganError(f"{target}: a result would replace this image. Choose another folder")
    return jobs


def write_pairs(jobs: Sequence[Job], folder: Path, recipe: Recipe, scale: int, seed: int) -> list[str]:
    """Write ``HR/*.png``, ``LR/*.png`` and their list. A bad file does not stop the others.

    The pairs are those of the stage `prepare`. An LR image depends on its original, the recipe, the scale and the seed alone.

    Args:
        jobs: the result of `plan`.
        folder: of the results.
        recipe: the degradations.
        scale: HR size / LR size. HR images are cropped to a multiple of it.
        seed: of the random draws.

    Returns:
        A message for each file that failed.
    """
    recipe.check_packages()

    options = Prepare(scale=scale, seed=seed)

    def make(job: Job) -> Record | SrganError:
        try:
            return _write_pair(job, recipe, options)
        except SrganError as error:
            return error

    for name in ("HR", "LR"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    failures, pairs = [], []
    with Progress("degrade", len(jobs), "image") as progress, Workers(make, processes()) as workers:
        for job, answer in zip(jobs, workers.map(jobs), strict=True):
            if isinstance(answer, Lost):
                failures.append(f"{job.source}: degrading it {answer.reason}. Replace or remove the file")
            elif isinstance(answer, SrganError):
                failures.append(str(answer) if str(job.source) in str(answer) else f"{job.source}: {answer}")
            else:
                pairs.append(answer)
            progress.add(1)
    steps = [step.model_dump() for step in recipe.steps]
    write_json(folder / LIST, {"recipe": recipe.name or "steps", "steps": steps, "scale": scale, "seed": seed, "pairs": pairs})
    log.info("%d of %d pairs written to %s. %s lists the drawn parameters", len(pairs), len(jobs), folder, folder / LIST)
    return failures


def _write_pair(job: Job, recipe: Recipe, options: Prepare) -> Record:
    image = read_image(job.source)
    height, width = image.shape[:2]
    needed = MIN_SIDE * options.scale
    if min(height, width) < needed:
        raise SrganError(f"{job.source}: has {width}x{height} pixels, and scale {options.scale} needs {needed} a side. Remove the file")
    lr_image, drawn = make_input(Input("", recipe), image, digest_of_pixels(image), options)
    write_png(job.hr, modcrop(image, options.scale))
    write_png(job.lr, lr_image)
    return {"name": job.hr.name, "source": str(job.source)} | drawn
