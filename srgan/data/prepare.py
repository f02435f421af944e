"""Raw images to training material: a split, HR/LR pairs as PNG, the packed store, and a manifest that ties them together."""

import hashlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

from srgan.data import degrade
from srgan.data.images import read_rgb, write_png
from srgan.data.manifest import FILE, Part
from srgan.data.store import StoreWriter
from srgan.errors import SrganError
from srgan.files import atomic_folder, digest, read_json, require, sha256, write_json


def split_validation(records: list[dict[str, Any]], share: float, seed: int) -> list[Part]:
    """Assign each training image to ``train`` or ``validation`` by a seeded hash of its content.

    An image's side does not depend on the other images, so adding some moves none; images of one `group` go together. If
    chance leaves validation empty, the group with the lowest hash goes there; if it leaves training empty, the one with the highest.
    """

    def position(sha: str) -> float:
        return int(hashlib.sha256(f"{seed}:{sha}".encode()).hexdigest()[:13], 16) / 16**13

    groups: dict[str, float] = {}
    for record in records:
        key = record["group"] or record["sha256"]
        groups[key] = min(groups.get(key, 1.0), position(record["sha256"]))
    if len(groups) < 2:
        raise SrganError("a split into training and validation images needs at least two different scenes; add images to data.train")
    held_out = {key for key, value in groups.items() if value < share} or {min(groups, key=lambda key: groups[key])}
    if len(held_out) == len(groups):
        held_out.remove(max(groups, key=lambda key: groups[key]))
    return ["validation" if (record["group"] or record["sha256"]) in held_out else "train" for record in records]


def prepare(raw: Path, out: Path, scale: int, validation: float, seed: int) -> dict[str, Any]:
    """Make `out` from `raw` (see `srgan.stages.download` for its layout); `out` appears whole or not at all.

    Returns:
        The manifest.
    """
    listing = read_json(raw / "manifest.json", made_by="download")
    if not isinstance(listing, dict) or "images" not in listing:
        raise SrganError(f"{raw / 'manifest.json'}: not a list of downloaded images; make it again with: dvc repro -sf download")
    sources = listing["images"]
    training = [record for record in sources if record["split"] == "train"]
    parts = dict(zip((record["path"] for record in training), split_validation(training, validation, seed), strict=True))
    images: list[dict[str, Any]] = []
    with atomic_folder(out) as folder:
        with StoreWriter(folder, scale) as store:
            for record in tqdm(sources, desc="prepare", unit="image", disable=None):
                part: Part = parts.get(record["path"], "test")
                hr_image = degrade.modcrop(read_rgb(require(raw / record["path"], "download")), scale)
                if not hr_image.size:
                    raise SrganError(f"{raw / record['path']}: smaller than {scale}x{scale} pixels; take it out")
                lr_image = degrade.bicubic_downscale(hr_image, scale)
                name = Path(record["path"]).stem
                place = folder / part / record["set"]
                write_png(place / "lr" / f"{name}.png", lr_image)
                if part == "train":
                    store.add(f"{record['set']}/{name}", hr_image, lr_image)
                else:
                    write_png(place / "hr" / f"{name}.png", hr_image)
                height, width = hr_image.shape[:2]
                images.append(
                    {
                        "set": record["set"],
                        "name": name,
                        "part": part,
                        "height": height,
                        "width": width,
                        "source_sha256": record["sha256"],
                        "lr_sha256": sha256(place / "lr" / f"{name}.png"),
                        "licence": record["licence"],
                    }
                )
        learned_from = sorted(image["source_sha256"] for image in images if image["part"] == "train")
        scored = sorted([image["set"], image["name"], image["source_sha256"]] for image in images if image["part"] == "test")
        manifest = {
            "scale": scale,
            "kernel": "matlab-bicubic",
            "seed": seed,
            "validation": validation,
            "train_sha256": digest([scale, learned_from]),  # identifies what a model has seen
            "test_sha256": digest([scale, scored]),  # identifies what it is scored on
            "images": images,
        }
        write_json(folder / FILE, manifest)
    return manifest
