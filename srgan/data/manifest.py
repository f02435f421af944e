"""Read the prepared folder.

Layout: ``manifest.json``, ``train.u8`` and ``train.json`` (see `srgan.data.packed_store`), and ``{validation,test}/SET/{hr,lr}/NAME.png``.
Training images are in the store only. A test set under a recipe of its own has a folder ``SET+RECIPE/lr``, and the originals are in
``SET/hr``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srgan.images.read import read_image, read_rgb
from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, read_json, require, sha256

FILE = "manifest.json"

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Pair:
    """An HR image and the LR image of the same scene, as files.

    Example:
        >>> from pathlib import Path
        >>> from srgan import Pair
        >>> Pair("set5", "baby", hr=Path("hr/baby.png"), lr=Path("lr/baby.png")).name
        'baby'
    """

    set: str
    name: str
    hr: Path
    lr: Path
    hr_sha256: str = ""  # of the file, empty if unknown
    lr_sha256: str = ""

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the HR image, `(H, W)` or `(H, W, 3)`, and the LR image, `(H / scale, W / scale, 3)`, both uint8.

        Raises:
            SrganError: a file is missing or damaged.
        """
        for path, expected in ((self.hr, self.hr_sha256), (self.lr, self.lr_sha256)):
            if expected and sha256(require(path, "prepare")) != expected:
                advice = "Restore it with: dvc checkout --force prepare, or make it again with: dvc repro -sf prepare"
                raise SrganError(f"{path}: damaged, its SHA-256 differs from the manifest. {advice}")
        return read_image(self.hr), read_rgb(self.lr)


def read_manifest(prepared: Path) -> dict[str, Any]:
    """Return the manifest that `prepare` wrote.

    Raises:
        SrganError: it is missing or not valid.
    """
    manifest = read_json(prepared / FILE, made_by="prepare")
    if not isinstance(manifest, dict) or not {"scale", "train_sha256", "test_sha256", "images"} <= set(manifest):
        raise SrganError(f"{prepared / FILE}: not a manifest of prepared data. Make it again with: dvc repro -f prepare")
    return manifest


def recipe_of(manifest: dict[str, Any]) -> str:
    """Return the recipe of the LR images in words, such as ``matlab`` for MATLAB's bicubic interpolation, or ``resize, noise``."""
    recipe = manifest.get("recipe")
    if recipe is None:
        return str(manifest["kernel"])
    return recipe["name"] or ", ".join(step["name"] for step in recipe["steps"])


def images_of(prepared: Path, part: Part) -> list[dict[str, Any]]:
    """Return the manifest's records of a part, sorted by set and name."""
    found = [image for image in read_manifest(prepared)["images"] if image["part"] == part]
    return sorted(found, key=lambda image: (image["set"], image["name"]))


def pairs(prepared: Path, part: Literal["validation", "test"]) -> list[Pair]:
    """Return the HR/LR pairs of a part, sorted by set and name."""
    found = []
    for image in images_of(prepared, part):
        set_name, name = (plain_name(image[key], f"{prepared / FILE}: {key}") for key in ("set", "name"))
        original = plain_name(image.get("original", set_name), f"{prepared / FILE}: original")
        folder, file = prepared / part, f"{name}.png"
        digests = image.get("hr_sha256", ""), image.get("lr_sha256", "")  # former versions wrote no digest of the HR image
        found.append(Pair(set_name, name, folder / original / "hr" / file, folder / set_name / "lr" / file, *digests))
    return found
