"""The tasks of a network: their words for reports, cards and commands, and the image that a result is compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from srgan.config.recipe import removes_colour
from srgan.degradations.bicubic import bicubic_upscale


@dataclass(frozen=True)
class Task:
    """A task with its words.

    Attributes:
        name: value of `sr.task` in exported files.
        title: the task in a heading, such as ``image restoration``.
        baseline: row of the tables that every model is compared with.
        result: label of the results in comparison images.
        verb: what a user does to an image, for messages.
        does: what the network does to an image, for ``A network that {does} images``.
        done: what happened to an image, for ``3 of 4 images {done}``.
        use: images that the network is made for.
        metric: name of the metric that sums up a result, next to LPIPS.
        psnr: name of the PSNR whose loss is limited. PSNR-Y ignores colours.
    """

    name: Literal["super-resolution", "restoration", "colorization"]
    title: str
    baseline: Literal["bicubic", "input"]
    result: str
    verb: str
    does: str
    done: str
    use: str
    metric: Literal["psnr_y", "ciede2000"] = "psnr_y"
    psnr: Literal["psnr_y", "psnr_rgb"] = "psnr_y"

    def heading(self, scale: int) -> str:
        """Return the title with the scale, such as ``super-resolution x4``."""
        return f"{self.title} x{scale}" if scale > 1 else self.title

    def short(self, scale: int) -> str:
        """Return the scale, such as ``x4``, or the title at scale 1."""
        return f"x{scale}" if scale > 1 else self.title

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
    "upscale",
    "upscales",
    "upscaled",
    "Images that are sharp but too small: for screens and print.",
)
RESTORATION = Task(
    "restoration",
    "image restoration",
    "input",
    "restored",
    "restore",
    "restores",
    "restored",
    "Images of full size with the faults of the recipe above.",
)
COLORIZATION = Task(
    "colorization",
    "colorization",
    "input",
    "colorized",
    "colorize",
    "colors",
    "colorized",
    "Grey photographs. The colors are a guess.",
    metric="ciede2000",
    psnr="psnr_rgb",
)
TASKS = {task.name: task for task in (SUPER_RESOLUTION, RESTORATION, COLORIZATION)}
BASELINES = tuple(dict.fromkeys(task.baseline for task in TASKS.values()))


def task_of(scale: int, adds_colour: bool) -> Task:
    """Return the task of a network.

    Args:
        scale: HR size / LR size.
        adds_colour: its inputs are grey and its results have colours.
    """
    if scale > 1:
        return SUPER_RESOLUTION
    return COLORIZATION if adds_colour else RESTORATION


def task_of_manifest(manifest: Mapping[str, Any]) -> Task:
    """Return the task of prepared data, from its manifest."""
    return task_of(manifest["scale"], removes_colour((manifest.get("recipe") or {}).get("steps", ())))


def baseline_in(models: Iterable[str]) -> str:
    """Return the baseline among the models of a table."""
    return next((name for name in models if name in BASELINES), BASELINES[0])
