"""The figures of the training images, with which those of a service are compared."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from srgan.config.data import Prepare
from srgan.data import estimate
from srgan.data.inputs import Input, digest_of_pixels, make_input
from srgan.data.manifest import FILE as MANIFEST
from srgan.data.manifest import read_manifest
from srgan.data.packed_store import Store, as_picture
from srgan.monitoring.figures import INPUT, Figures, of_image
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, read_json_or_none, write_json
from srgan.utils.machine import processes
from srgan.utils.progress import Progress
from srgan.utils.workers import Workers

FILE = "reference.json"
IMAGES = 500  # of the training, evenly chosen
LEAST = 20  # fewer images are no reference

log = logging.getLogger(__name__)


class TooFew(SrganError):
    """Fewer images than a reference needs."""


@dataclass(frozen=True)
class Reference:
    """The figures of many images.

    Attributes:
        origin: of the images, for people.
        data: digest of the images. Alarms name it, so that those against former training images are known.
        training: the images are those of a training. Else the user chose them.
        figures: values of each figure.
    """

    origin: str
    data: str
    training: bool
    figures: dict[str, list[float | None]]

    def write(self, folder: Path) -> None:
        """Write the file of a folder."""
        write_json(folder / FILE, asdict(self))


def read(folder: Path) -> Reference | None:
    """Return the reference of a folder, or None if it has none.

    Raises:
        SrganError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    found = read_json_or_none(path)
    try:
        reference = Reference(**found)
        complete = set(reference.figures) == set(INPUT)
    except (TypeError, AttributeError):  # not the keys of a reference, or no table of figures
        complete = False
    if not complete:
        raise SrganError(f"{path}: not a reference. Delete the file and make it again with: srgan monitor {folder}")
    return reference


def update(folder: Path, prepared: Path, chosen: Path | None = None) -> Reference | None:
    """Make the reference of a folder if there is none yet or the training images changed, and return it.

    A training with too few images is no reference, which is a warning.

    Args:
        folder: of the log.
        prepared: folder of the prepared images. It need not exist.
        chosen: folder of images in place of those of a training.

    Raises:
        SrganError: files are damaged, or the chosen images are too few.
    """
    known = read(folder)
    if chosen:
        made = of_folder(chosen)
    else:
        prepares = (prepared / MANIFEST).is_file() and (known is None or known.training)
        if not prepares or (known and known.data == read_manifest(prepared)["train_sha256"]):
            return known
        try:
            made = of_training(prepared)
        except TooFew as error:
            log.warning("%s", error)
            (folder / FILE).unlink(missing_ok=True)  # of former training images
            return None
    made.write(folder)
    log.info("%s: the figures of %s", folder / FILE, made.origin)
    return made


def of_training(prepared: Path) -> Reference:
    """Measure the LR images of a training.

    Args:
        prepared: folder of the prepared images.

    Raises:
        TooFew: it has too few images of at least 32 pixels a side.
        SrganError: it is missing or damaged.
    """
    manifest, store = read_manifest(prepared), Store(prepared)
    scale, seed = manifest["scale"], manifest.get("seed", 0)
    chosen = sorted({round(number) for number in np.linspace(0, len(store.names) - 1, min(IMAGES, len(store.names)))})

    def measure(number: int) -> Figures | None:
        if len(store.lr_variants[number]):
            lr_image = as_picture(store.lr_variants[number][0])
        else:  # the training makes them
            hr_image = as_picture(store.hr[number])
            lr_image, _ = make_input(Input("", store.recipe), hr_image, digest_of_pixels(hr_image), Prepare(scale=scale, seed=seed))
        if min(lr_image.shape[:2]) < estimate.MIN_SIDE:
            return None
        return of_image(estimate.measure_pixels(lr_image @ np.array(estimate.LUMA)))

    found = []
    with Progress("reference", len(chosen), "image") as progress, Workers(measure, processes()) as workers:
        for answer in workers.map(chosen):
            found += [answer] if isinstance(answer, dict) else []
            progress.add(1)
    log.info("%s: %d of %d training images measured", prepared, len(found), len(store.names))
    return Reference(f"{len(found)} training images of {prepared}", manifest["train_sha256"], True, _columns(found, prepared))


def of_folder(folder: Path) -> Reference:
    """Measure the images of a folder.

    Raises:
        TooFew: it has too few images of at least 32 pixels a side.
        SrganError: it is missing.
    """
    findings, _ = estimate.estimate(folder)
    figures = [of_image(found) for found in findings]
    return Reference(f"{len(figures)} images of {folder}", digest(figures), False, _columns(figures, folder))


def _columns(figures: Sequence[Figures], origin: Path) -> dict[str, list[float | None]]:
    if len(figures) < LEAST:
        raise TooFew(
            f"{origin}: {len(figures)} images can be measured, and a reference needs {LEAST} of at least {estimate.MIN_SIDE} pixels "
            "a side. Name a folder with more: srgan monitor --reference FOLDER"
        )
    return {name: [one[name] for one in figures] for name in INPUT}
