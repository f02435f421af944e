"""The LR images of `prepare`: made by the recipe or by a recipe of the test set, or those of the data set."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srgan.config.data import Prepare
from srgan.config.recipe import steps_from_json
from srgan.data.registration import correct, measure
from srgan.degradations import bicubic
from srgan.degradations.recipe import Recipe, describe_plan
from srgan.images.read import as_grey, as_rgb, read_image
from srgan.utils.errors import SrganError
from srgan.utils.files import digest

Record = dict[str, Any]

MIN_COPY = 96  # pixels of a side: the default patch


@dataclass(frozen=True)
class Input:
    """An LR image to make from an original.

    Attributes:
        set: name of its set in tables.
        recipe: makes it.
        source: the data set's own LR image, which is used in place of the recipe.
        variant: index among the LR images of one original.
    """

    set: str
    recipe: Recipe
    source: Path | None = None
    variant: int = 0


def variants(options: Prepare) -> int:
    """Return the number of LR images to make for each training image. 0 means that the training makes them."""
    recipe = Recipe(options.recipe)
    return (1 if recipe.is_bicubic else options.variants) if recipe.made_ahead else 0


def recipes_of_test_sets(rows: Sequence[Record], raw: Path) -> dict[str, list[tuple[str, Recipe | None]]]:
    """Return the inputs of each test set, as pairs of the name in tables and the recipe. None stands for ``prepare.recipe``.

    Args:
        rows: see `srgan.data.choice.inputs_of_test_sets`.
        raw: the file that they come from, for messages.

    Raises:
        SrganError: the recipes are of another version of this program.
    """
    found: dict[str, list[tuple[str, Recipe | None]]] = {}
    try:
        for row in rows:
            given = row["recipe"]
            label = row["name"].removeprefix(f"{row['set']}+")
            recipe = None if given is None else Recipe(given if isinstance(given, str) else steps_from_json(given), label)
            found.setdefault(row["set"], []).append((row["name"], recipe))
    except (KeyError, ValueError) as error:
        raise SrganError(f"{raw}: the recipes of the test sets are not valid. Make it again with: dvc repro -sf download") from error
    return found


def digest_of_pixels(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's size and pixels."""
    return hashlib.sha256(f"{image.shape}".encode() + image.data).hexdigest()


@dataclass(frozen=True)
class OwnPair:
    """An HR image and the data set's own LR image.

    Attributes:
        hr_image: `(H, W[, 3])` uint8. Its sides are multiples of the scale.
        lr_image: `(H / scale, W / scale[, 3])` uint8.
        record: the measured registration for the manifest. If the pair was corrected, it has the corrections and a digest of the pixels.
    """

    hr_image: np.ndarray
    lr_image: np.ndarray
    record: Record


def read_pair(source: Path, image: np.ndarray, options: Prepare) -> OwnPair:
    """Read the data set's own LR image, measure how it fits its HR image, and correct it by ``prepare.align``.

    Args:
        source: file of the LR image.
        image: the HR image, `(H, W[, 3])` uint8.
        options: scale and align.

    Raises:
        SrganError: the LR image cannot be read or has another size.
    """
    hr_image, lr_image = bicubic.modcrop(image, options.scale), _read_lr(source, image, options.scale)
    lr_image = as_grey(lr_image) if options.channels == 1 and image.ndim == 2 else lr_image
    found = measure(hr_image, lr_image, options.scale)
    record = found.record()
    if options.align != "none":
        hr_image, lr_image, corrections = correct(hr_image, lr_image, options.scale, found, options.align == "position+color")
        if corrections:
            record |= {"corrected": corrections, "sha256": digest([digest_of_pixels(each) for each in (hr_image, lr_image)])}
    return OwnPair(hr_image, lr_image, {"registration": record})


def make_input(made: Input, image: np.ndarray, pixels: str, options: Prepare) -> tuple[np.ndarray, Record]:
    """Make an LR image by a recipe.

    Args:
        made: how.
        image: the original, `(H, W[, 3])` uint8 or uint16.
        pixels: digest of the original. It seeds the recipe, with ``prepare.seed``.
        options: scale, kernel and seed.

    Returns:
        The LR image, and the drawn parameters for the manifest.
    """
    hr_image = bicubic.modcrop(image, options.scale)
    if made.recipe.is_bicubic:
        return bicubic.bicubic_downscale(hr_image, options.scale, options.kernel), {}
    torch.set_num_threads(1)  # the processes run in parallel, and a fork cannot use the threads of its parent
    lr_image, plan = made.recipe.degrade(as_rgb(hr_image), options.scale, (options.seed, int(pixels, 16), made.variant))
    gray = options.channels == 1 and image.ndim == 2
    return as_grey(lr_image) if gray else lr_image, {"drawn": describe_plan(plan)}


def reduced_copies(image: np.ndarray, options: Prepare) -> dict[int, np.ndarray]:
    """Return the reduced copies of a training image, `(H, W[, 3])`, by their factors. Copies without room for a patch are not made.

    Real-ESRGAN (Wang et al. 2021) trains on such copies, too: small images have denser detail than large photographs.
    """
    copies = {}
    for factor in options.reduced:
        copy = bicubic.modcrop(bicubic.bicubic_downscale(bicubic.modcrop(image, factor), factor), options.scale)
        if min(copy.shape[:2]) >= MIN_COPY:
            copies[factor] = copy
    return copies


def _read_lr(path: Path, image: np.ndarray, scale: int) -> np.ndarray:
    try:
        lr_image = read_image(path)
    except SrganError as error:
        raise SrganError(f"its LR image: {reason(error, path)}") from error
    height, width = (side // scale for side in image.shape[:2])
    if lr_image.shape[:2] != (height, width):
        found = f"{lr_image.shape[1]}x{lr_image.shape[0]}"
        multiple = all(side % scale == 0 for side in image.shape[:2])
        advice = "" if multiple else f": cut the HR image to a multiple of {scale} pixels first, then make the LR image from it"
        raise SrganError(f"its LR image has {found} pixels, at scale {scale} it needs {width}x{height}{advice}")
    return lr_image


def reason(error: SrganError, path: Path) -> str:
    """Return an error without the path before it and the advice after it."""
    return re.split("[.;] ", str(error).removeprefix(f"{path}: "))[0]
