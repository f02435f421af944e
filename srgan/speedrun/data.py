"""Digests of prepared data, and the search for test images among the training images."""

import hashlib
from pathlib import Path

import numpy as np

from srgan.data import near_duplicates
from srgan.data.manifest import Pair, pairs, read_manifest
from srgan.data.packed_store import Store
from srgan.images.read import as_rgb
from srgan.speedrun.tracks import DataDigests
from srgan.utils.files import digest
from srgan.utils.progress import Progress


def digests(prepared: Path) -> DataDigests:
    """Return digests of the original pixels and of the rule that makes the LR images.

    Names and file formats of the images do not matter, as the sources of a data set differ in both.

    Args:
        prepared: folder of the prepared data.

    Raises:
        SrganError: a file is damaged.
    """
    store, manifest = Store(prepared), read_manifest(prepared)
    store.verify()
    own = sum(image.get("own_lr", False) for image in manifest["images"])  # LR images that no rule makes
    rule = [manifest["scale"], manifest["kernel"], manifest.get("recipe", {}), manifest.get("test_recipes", {}), own]
    train = [["", _of_pixels(image)] for image in store.hr]
    held_out = {part: [_of_pair(pair) for pair in pairs(prepared, part)] for part in ("validation", "test")}
    validation = [["", pixels] for _, pixels in held_out["validation"]]
    return DataDigests(*(digest([rule, sorted(part)]) for part in (train, validation, held_out["test"])))


def _of_pair(pair: Pair) -> list[str]:
    return [pair.set, _of_pixels(pair.read()[0]) if pair.hr else ""]


def _of_pixels(image: np.ndarray) -> str:
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def leaks(prepared: Path) -> list[str]:
    """Return a sentence for each training or validation image that shows a test image.

    Args:
        prepared: folder of the prepared data.
    """
    references = near_duplicates.References()
    for pair in pairs(prepared, "test"):
        if pair.hr:
            references.add(f"{pair.set}/{pair.name}", near_duplicates.fingerprint(as_rgb(pair.read()[0])))
    store = Store(prepared)
    learned = dict(zip(store.names, store.hr, strict=True))
    validated = {f"{pair.set}/{pair.name}": pair for pair in pairs(prepared, "validation") if pair.hr}
    found = []
    with Progress("leak check", len(learned) + len(validated), "image") as progress:
        for name in (*learned, *validated):
            image = learned[name] if name in learned else as_rgb(validated[name].read()[0])
            found += [f"{name} shows {of}" for of, _ in references.find(near_duplicates.fingerprint(image))]
            progress.add(1)
    return found
