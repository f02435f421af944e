"""Estimate the disk space of the data and the checkpoints of a training."""

from pathlib import Path

import torch
from PIL import Image

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.choice import choose
from srgan.data.download.catalog import DataSet, Split
from srgan.data.inputs import variants
from srgan.data.manifest import FILE
from srgan.data.walk import images_below, of_split
from srgan.models.checkpoints import new_generator
from srgan.models.registry import create_discriminator, parameter_count
from srgan.utils import files

DECODED = 2.2  # bytes of pixels for a byte of PNG (DIV2K: 7.3 GB for 3.3 GB); JPEG files hold several times as many
CHECKPOINTS = 3  # of a stage at most: the last, and two regular ones
_SPLITS: tuple[tuple[Split, float], ...] = (("train", DECODED), ("test", 1.0))  # test images are written as PNG again
COPIES = 4  # of a float32 weight in a checkpoint: itself, its average, and Adam's two moments


def plan(project: Project, params: Params) -> str:
    """Return a line with the disk space that the stages need and that is free.

    After ``srgan download`` the sizes of the data follow from the downloaded images; before, from the catalogue and the user's folders.

    Args:
        project: the files.
        params: the whole configuration.
    """
    raw = project.raw
    downloaded = _of_images(project, params)
    images, prepared, unknown = downloaded or _of_names(project, params)
    trained = CHECKPOINTS * COPIES * 4 * sum(_weights(params))
    needed = 2 * (images + prepared) + trained - (images if downloaded else 0)
    free = files.free_space(raw)
    parts = [
        f"disk: {raw} {_size(images)}, {project.prepared} about {_size(prepared)}, "
        "as much again in DVC's cache (unless cache.type is a link)",
        f"checkpoints up to {_size(trained)}",
    ]
    if unknown:
        parts.append(f"not counted, as their size is not known before the download: {', '.join(unknown)}")
    parts.append(f"{_size(free)} are free")
    if needed > free:
        parts[-1] += f": too little for about {_size(needed)} more; free some, or see docs/data.md, 'Disk'"
    return "; ".join(parts)


def _of_images(project: Project, params: Params) -> tuple[float, float, list[str]] | None:
    """Return the bytes of the downloaded and the prepared images, or None if other data sets or none were downloaded."""
    raw = project.raw
    listing = files.read_json_or_none(raw / FILE)
    named = {entry.name for split, _ in _SPLITS for entry in choose(params.data.sets(split), split, project.root)}
    if not isinstance(listing, dict) or {record["set"] for record in listing.get("images", [])} != named:
        return None
    prepared = 0.0
    for record in listing["images"]:
        path = raw / record["path"]
        try:
            if record["split"] == "test":
                prepared += path.stat().st_size  # PNG again, with a small LR image
            else:
                pixel = params.prepare.channels * params.prepare.bits // 8  # bytes
                with Image.open(path) as image:
                    prepared += pixel * image.width * image.height * (1 + variants(params.prepare) * params.prepare.scale**-2)
        except Exception:  # a damaged file, which may raise nearly anything: `prepare` skips it
            continue
    return sum(path.stat().st_size for path in raw.rglob("*") if path.is_file()), prepared, []


def _of_names(project: Project, params: Params) -> tuple[float, float, list[str]]:
    """The same by what the catalogue states and the user's folders hold, and the data sets of which it is not known."""
    images = prepared = 0.0
    unknown = []
    for split, factor in _SPLITS:
        for entry in choose(params.data.sets(split), split, project.root):
            size = _stated(entry, split)
            if not size:
                unknown.append(entry.name)
            images += size
            prepared += factor * size
    return images, prepared, unknown


def _stated(entry: DataSet, split: Split) -> int:
    """Bytes of one split of a data set; 0 if that is not known."""
    if entry.folder:
        return sum(path.stat().st_size for path in of_split(entry.folder, images_below(entry.folder), split))
    files = entry.sources[split][0].files
    if entry.packages:
        return sum(path.stat().st_size for file in files if (path := file.local) and path.is_file())
    sizes = [file.size for file in files]
    return sum(sizes) if all(sizes) else 0


def _weights(params: Params) -> list[int]:
    """Numbers of weights that the checkpoints of each stage hold."""
    with torch.device("meta"):
        weights = parameter_count(
            new_generator(params.model, params.prepare.scale, start=Path(params.pretrain.pretrained), channels=params.prepare.channels)
        )
        against = parameter_count(create_discriminator(params.train.discriminator))
    return [weights, weights + against]


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
