"""People who take part in blind studies: by planted strengths, or by an order."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from srgan.study.answers import Answer, append, log_path
from srgan.study.files import read_key, read_study
from srgan.study.plan import choose_comparisons

MODELS = ["a", "b", "c", "d"]
STRENGTHS = dict(zip(MODELS, np.log([8, 4, 2, 1]), strict=True))  # each is preferred to the next one 2 to 1


def votes(
    random: np.random.Generator, strengths=STRENGTHS, raters=3, pairs=60, images=40, equal=0.0, careless=0.0, of_rater=0.0
) -> pd.DataFrame:
    """The answers of a study.

    `equal` is the share of equal answers, `careless` that of random ones, and `of_rater` the standard deviation by which the strengths of
    a rater differ from the planted ones.
    """
    models = list(strengths)
    compared = choose_comparisons([f"image-{number}" for number in range(images)], models, pairs, random)
    own = np.array(list(strengths.values())) + random.normal(0, of_rater, (raters, len(models)))
    first, second = ([models.index(getattr(one, side)) for one in compared] for side in ("first", "second"))
    drawn = random.random((3, raters, len(compared)))
    better = drawn[0] < np.where(drawn[1] < careless, 0.5, 1 / (1 + np.exp(own[:, second] - own[:, first])))
    choice = np.where(drawn[2] < equal, "equal", np.where(better, "first", "second"))
    columns = {name: [getattr(one, name) for one in compared] * raters for name in ("image", "first", "second")}
    return pd.DataFrame(columns | {"rater": np.repeat(np.arange(raters) + 1, len(compared)), "choice": choice.ravel()})


def write_pictures(folder: Path, models=MODELS, images=6, size=(96, 64)) -> list[str]:
    """Write folders of pictures, each model's with a tint of its own. Return the arguments of ``srgan study create``."""
    random = np.random.default_rng(3)
    for image in range(images):
        base = np.kron(random.integers(40, 216, (size[1] // 8, size[0] // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for number, model in enumerate(models):
            (folder / model).mkdir(parents=True, exist_ok=True)
            Image.fromarray(base + np.uint8(5 * number)).save(folder / model / f"image-{image}.png")
    return [str(folder / model) for model in models]


def answer(folder: Path, rater: int, choose, trials: int | None = None) -> None:
    """Store the answers of a rater. `choose` gets the models of both sides, None for a damaged picture, and returns the choice."""
    study = read_study(folder)
    key = read_key(folder, study)
    for trial, sides in enumerate(study.raters[rater - 1].trials[:trials]):
        models = [key.pictures[name].model for name in sides]
        append(log_path(folder, rater), Answer(trial=trial, choice=choose(*models), seconds=1.5))


def by_rank(*order: str):
    """Return a `choose` that prefers the model that comes first in `order`. It passes the attention checks."""
    rank = {model: number for number, model in enumerate((*order, None))}
    return lambda left, right: "left" if rank[left] < rank[right] else "right"
