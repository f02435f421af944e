"""The sheets of ``reports/data.html`` that show recipes: originals, several inputs of each, and the parameters that made them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from srgan.config.render import scalar
from srgan.config.schema import identity
from srgan.config.yaml import to_plain
from srgan.degradations.recipe import Recipe, describe_plan, in_words

MAX_RECIPES = 6  # sheets. The others are listed by name
ORIGINALS = 2  # of each recipe
INPUTS = 8  # of each original
REGION_SIDE = 128  # HR pixels

Named = tuple[str, np.ndarray]  # label and HR image, `(H, W, 3)` uint8


@dataclass(frozen=True)
class Sheet:
    """A recipe and what it makes.

    Attributes:
        title: of the sheet.
        steps: of the recipe, as in ``params.yaml``, without defaults.
        rows: label and region of each original, with its inputs and their parameters in words. Images are PNG as data URIs.
    """

    title: str
    steps: list[str]
    rows: list[tuple[str, str, list[tuple[str, str]]]]


def make_sheet(title: str, recipe: Recipe, originals: Sequence[Named], scale: int, seed: int) -> Sheet:
    """Degrade the centres of some originals several times.

    Args:
        title: of the sheet.
        recipe: makes the inputs.
        originals: the images. The first `ORIGINALS` are shown.
        scale: HR size / LR size.
        seed: equal seeds give equal inputs.
    """
    rows = []
    for number, (label, image) in enumerate(originals[:ORIGINALS]):
        region = _centre(image, scale)
        inputs = [recipe.degrade(region, scale, (seed, number, variant)) for variant in range(INPUTS)]
        shown = dict.fromkeys((_png(lr_image), in_words(describe_plan(plan))) for lr_image, plan in inputs)  # equal inputs once
        rows.append((label, _png(region), list(shown)))
    return Sheet(title, [scalar(to_plain(identity(step))) for step in recipe.steps], rows)


def _centre(image: np.ndarray, scale: int) -> np.ndarray:
    """Return the centre of an image, whose sides `scale` divides."""
    height, width = (min(REGION_SIDE, side) // scale * scale for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _png(image: np.ndarray) -> str:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()
