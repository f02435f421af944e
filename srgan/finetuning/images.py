"""The images of a fine-tuning: those that can be used, the folds of a cross-validation, and the validation images."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data import near_duplicates
from srgan.data.inputs import digest_of_pixels
from srgan.data.left_out import LeftOut, described
from srgan.data.manifest import FILE
from srgan.data.prepare import BENCHMARKS
from srgan.data.prepare_image import MIN_SIDE
from srgan.data.split import split
from srgan.images.read import read_rgb
from srgan.stages import download
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, read_json, write_json

Record = dict[str, Any]

MIN_IMAGES = 5
MAX_FOLDS = 4
MAX_VALIDATION = 4  # images
SEEDS = 1000  # of the split, among which one gives the wanted number of validation images


@dataclass(frozen=True)
class Images:
    """The downloaded images that can be used.

    Attributes:
        raw: folder of the images.
        train: records of those to learn from.
        test: records of those that measure the gain. Without a test folder there are none.
        left_out: a row for each reason to leave images out.
    """

    raw: Path
    train: list[Record]
    test: list[Record]
    left_out: list[Record]

    @property
    def digests(self) -> list[str]:
        """SHA-256 of each image."""
        return [record["sha256"] for record in self.train + self.test]

    @property
    def paired(self) -> bool:
        """True if the images to learn from have LR images of their own."""
        return any(record.get("lr") for record in self.train)


def select(project: Project, params: Params, tested: bool) -> Images:
    """Copy the images of ``data`` into a project, and choose those that can be used.

    An image is left out if it is damaged, smaller than a patch, or shows the same as a test image, a benchmark image or an earlier image.

    Args:
        project: where they are copied to.
        params: with the folders and the size of the patches.
        tested: whether ``data.test`` names images that measure the gain. Otherwise it names those to learn from.

    Raises:
        SrganError: fewer than `MIN_IMAGES` images can be used to learn from, or fewer than two to measure the gain.
    """
    download.run(project, params if tested else params.model_copy(update={"data": params.data.model_copy(update={"test": ()})}))
    listing = read_json(project.raw / FILE, made_by="download")
    known = near_duplicates.References.load(BENCHMARKS)
    kept: dict[str, list[Record]] = {"test": [], "train": []}
    rows = list(listing["left_out"])
    for part, records in kept.items():
        least, left_out, name = params.train.patch_sizes[-1] if part == "train" else MIN_SIDE, LeftOut(), ""
        for record in (record for record in listing["images"] if record["split"] == part):
            name = record["set"]
            if problem := _problem(project.raw, record, least, known, compare=part == "train"):
                left_out.add(problem, record["path"].split("/", 2)[2])
            else:
                records.append(record)
        added = left_out.rows(name, part)
        for row in added:
            download.log.warning("left out %s", described(row))
        rows += added
    found = Images(project.raw, kept["train"], kept["test"], rows)
    _require_enough(found, params, tested)
    return found


def _problem(raw: Path, record: Record, least: int, known: near_duplicates.References, compare: bool) -> str:
    """Return why an image cannot be used, or an empty text. Then it is added to the known images."""
    try:
        pixels = read_rgb(raw / record["path"])
    except SrganError:
        return "damaged, or no image"
    if min(pixels.shape[:2]) < least:
        return f"smaller than {least}x{least} pixels"
    fingerprint, digest = near_duplicates.fingerprint(pixels), digest_of_pixels(pixels)
    if compare and (shows := known.find(fingerprint, digest)):
        return f"shows the same as {shows[0][0]}"
    known.add(record["path"], fingerprint, digest)
    return ""


def _require_enough(found: Images, params: Params, tested: bool) -> None:
    reasons = "".join(f"; left out: {described(row)}" for row in found.left_out)
    if len(found.train) < MIN_IMAGES:
        raise SrganError(
            f"{params.data.train[0]}: {len(found.train)} images to learn from, at least {MIN_IMAGES} are needed{reasons}. Add images. "
            "To adapt a model to a single image: srgan upscale --adapt"
        )
    if tested and len(found.test) < 2:
        raise SrganError(f"{params.data.test[0]}: {len(found.test)} test images, an interval needs at least 2{reasons}. Add images")


def folds(records: list[Record]) -> list[list[Record]]:
    """Return the images in the folds of a cross-validation, whose sizes differ by one at most. Their digests decide, not their names."""
    ordered = sorted(records, key=lambda record: record["sha256"])
    count = min(MAX_FOLDS, len(ordered))
    return [ordered[number::count] for number in range(count)]


def with_split(images: Images, test: list[Record], params: Params) -> Params:
    """Return the parameters of a training: one image of six is for validation, one at least.

    Args:
        images: all images.
        test: those that the training does not see.
        params: of the fine-tuning.
    """
    training = _without(images.train, test)
    wanted = max(1, min(MAX_VALIDATION, len(training) // 6))
    share = wanted / len(training)
    seed = min(range(SEEDS), key=lambda seed: abs(split(training, share, 0, seed).count("validation") - wanted))
    return params.model_copy(update={"prepare": params.prepare.model_copy(update={"validation": share, "seed": seed})})


def place(project: Project, images: Images, test: list[Record]) -> None:
    """Write ``data/raw`` of a training, which links to the images.

    Args:
        project: of the training.
        images: all images.
        test: those that the training does not see.
    """
    held_out = [record | {"split": "test"} for record in test]
    with atomic_folder(project.raw) as folder:
        for name in ("train", "test"):
            if (images.raw / name).is_dir():
                (folder / name).symlink_to(os.path.relpath(images.raw / name, project.raw), target_is_directory=True)
        listed = _without(images.train, test) + held_out + images.test
        write_json(folder / FILE, {"images": listed, "left_out": images.left_out})


def _without(records: list[Record], others: list[Record]) -> list[Record]:
    paths = {record["path"] for record in others}
    return [record for record in records if record["path"] not in paths]
