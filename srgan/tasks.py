"""The tasks of a network: their words for reports, cards and commands, and the image that a result is compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from srgan.config.recipe import Recipe, steps_of
from srgan.degradations.bicubic import bicubic_upscale


@dataclass(frozen=True)
class Task:
    """A task with its words.

    Attributes:
        name: value of `sr.task` in exported files.
        title: the task in a heading, such as ``image restoration``.
        baseline: row of the tables that every model is compared with.
        result: label of the results in comparison images.
        does: what the network does to an image, for ``A network that {does} images``.
        use: images that the network is made for.
    """

    name: Literal["super-resolution", "restoration", "colorization"]
    title: str
    baseline: Literal["bicubic", "input"]
    result: str
    does: str
    use: str

    def heading(self, scale: int) -> str:
        """Return the title with the scale, such as ``super-resolution x4``."""
        return f"{self.title} x{scale}" if scale > 1 else self.title

    def baseline_image(self, lr_image: np.ndarray, scale: int) -> np.ndarray:
        """Return the baseline: MATLAB's bicubic interpolation, or the input itself at scale 1.

        Args:
            lr_image: input of the network, `(H, W, 3)` uint8.
            scale: HR size / LR size.

        Returns:
            `(scale * H, scale * W, 3)` uint8.
        """
        return lr_image if scale == 1 else bicubic_upscale(lr_image, scale)


SUPER_RESOLUTION = Task(
    "super-resolution",
    "super-resolution",
    "bicubic",
    "SR",
    "upscales",
    "Images that are sharp but too small: for screens and print.",
)
RESTORATION = Task(
    "restoration", "image restoration", "input", "restored", "restores", "Images of full size with the faults of the recipe above."
)
COLORIZATION = Task("colorization", "colorization", "input", "colorized", "colors", "Grey photographs. The colors are a guess.")
TASKS = {task.name: task for task in (SUPER_RESOLUTION, RESTORATION, COLORIZATION)}
BASELINES = tuple(dict.fromkeys(task.baseline for task in TASKS.values()))


def task_of(scale: int, recipe: Recipe) -> Task:
    """Return the task of a network.

    Args:
        scale: HR size / LR size.
        recipe: how the inputs of the network are made. If a step turns every image grey, the task is colorization.
    """
    return _task_of(scale, ((step.name, getattr(step, "probability", 1.0)) for step in steps_of(recipe)))


def task_of_manifest(manifest: Mapping[str, Any]) -> Task:
    """Return the task of prepared data, from its manifest."""
    steps = (manifest.get("recipe") or {}).get("steps", ())
    return _task_of(manifest["scale"], ((step["name"], step.get("probability", 1.0)) for step in steps))


def baseline_in(models: Iterable[str]) -> str:
    """Return the baseline among the models of a table."""
    return next((name for name in models if name in BASELINES), BASELINES[0])


def _task_of(scale: int, steps: Iterable[tuple[str, float]]) -> Task:
    if scale > 1:
        return SUPER_RESOLUTION
    return COLORIZATION if ("grayscale", 1.0) in steps else RESTORATION
