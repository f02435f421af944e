"""What the prepared folder holds.

Layout: ``manifest.json``, ``train.u8`` and ``train.json`` (see `srgan.data.packed_store`), and
``{validation,test}/SET/{hr,lr}/NAME.png``. Training images are in the store alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, read_json

FILE = "manifest.json"

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Pair:
    """An HR image and the LR image that was made from it, as files.

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


def read_manifest(prepared: Path) -> dict[str, Any]:
    """The manifest that `prepare` wrote."""
    manifest = read_json(prepared / FILE, made_by="prepare")
    if not isinstance(manifest, dict) or not {"scale", "train_sha256", "test_sha256", "images"} <= set(manifest):
        raise SrganError(f"{prepared / FILE}: not a manifest of prepared data; make it again with: dvc repro -f prepare")
    return manifest


def images_of(prepared: Path, part: Part) -> list[dict[str, Any]]:
    """The manifest's records of a part, in a fixed order."""
    found = [image for image in read_manifest(prepared)["images"] if image["part"] == part]
    return sorted(found, key=lambda image: (image["set"], image["name"]))


def pairs(prepared: Path, part: Literal["validation", "test"]) -> list[Pair]:
    """The HR/LR pairs of a part, in a fixed order."""
    found = []
    for image in images_of(prepared, part):
        set_name, name = (plain_name(image[key], f"{prepared / FILE}: {key}") for key in ("set", "name"))
        folder, file = prepared / part / set_name, f"{name}.png"
        found.append(Pair(set_name, name, folder / "hr" / file, folder / "lr" / file))
    return found
