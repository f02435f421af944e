"""Read the prepared folder.

Layout: ``manifest.json``, the folder ``train`` (see `srgan.data.packed_store`), and ``{validation,test}/SET/{hr,lr}/NAME.png``.
Training images are in the store only. A test set under a recipe of its own has a folder ``SET+RECIPE/lr``, and the originals are in
``SET/hr``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srgan.images.read import as_rgb, read_image, read_rgb, read_stored
from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, read_json, require, sha256

FILE = "manifest.json"

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Pair:
    """The LR image of a scene and its HR image, as files. A test image of the user's may have no HR image: then `hr` is None.

    Example:
        >>> from pathlib import Path
        >>> from srgan import Pair
        >>> Pair("set5", "baby", hr=Path("hr/baby.png"), lr=Path("lr/baby.png")).name
        'baby'
    """

    set: str
    name: str
    hr: Path | None
    lr: Path
    hr_sha256: str = ""  # of the file, empty if unknown
    lr_sha256: str = ""
    grey_input: bool = False  # the LR image is the greyscale version of the original, and no more is changed

    def read(self, deep: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the HR image, `(H, W)` or `(H, W, 3)`, and the LR image, `(H / scale, W / scale, 3)`, both uint8.

        Args:
            deep: return images of 16 bits as uint16.

        Raises:
            SrganError: a file is missing or damaged, or there is no HR image.
        """
        if self.hr is None:
            raise SrganError(f"{self.set}/{self.name}: has no original")
        hr_path = _verified(self.hr, self.hr_sha256)
        if deep:
            return read_stored(hr_path), as_rgb(read_stored(_verified(self.lr, self.lr_sha256)))
        return read_image(hr_path), self.read_lr()

    def read_lr(self) -> np.ndarray:
        """Return the LR image alone. Raises `SrganError` if it is missing or damaged."""
        return read_rgb(_verified(self.lr, self.lr_sha256))


def _verified(path: Path, expected: str) -> Path:
    if expected and sha256(require(path, "prepare")) != expected:
        advice = "Restore it with: dvc checkout --force prepare, or make it again with: dvc repro -sf prepare"
        raise SrganError(f"{path}: damaged, its SHA-256 differs from the manifest. {advice}")
    return path


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
    """Return the HR/LR pairs of a part, sorted by set and name. Test images without an original have no HR image."""
    manifest, found = read_manifest(prepared), []
    for image in images_of(prepared, part):
        set_name, name = (plain_name(image[key], f"{prepared / FILE}: {key}") for key in ("set", "name"))
        original = plain_name(image.get("original", set_name), f"{prepared / FILE}: original")
        folder, file = prepared / part, f"{name}.png"
        digests = image.get("hr_sha256", ""), image.get("lr_sha256", "")  # former versions wrote no digest of the HR image
        hr = folder / original / "hr" / file if image.get("reference", True) else None
        lr = folder / set_name / "lr" / file
        found.append(Pair(set_name, name, hr, lr, *digests, _is_grey_input(manifest, image)))
    return found


def _is_grey_input(manifest: dict[str, Any], image: dict[str, Any]) -> bool:
    recipe = manifest.get("test_recipes", {}).get(image["set"]) if image["part"] == "test" else None
    recipe = recipe or manifest.get("recipe") or {"steps": []}
    return not image.get("own_lr") and [step["name"] for step in recipe["steps"]] == ["grayscale"]
