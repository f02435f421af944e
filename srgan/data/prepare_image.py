"""Prepare one image: the function that `srgan.data.prepare` runs in several processes."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from srgan.config.data import Prepare
from srgan.data import near_duplicates
from srgan.data.inputs import Input, Record, digest_of_pixels, make_input, read_pair, reason, reduced_copies
from srgan.data.manifest import Part
from srgan.data.store_writer import Packed, pack
from srgan.degradations.bicubic import modcrop
from srgan.images.png import encode_png
from srgan.images.read import as_grey, as_rgb, read_deep, read_image, to_uint8
from srgan.utils.errors import SrganError

MIN_SIDE = 32  # pixels. Smaller images have no room for a patch and for the window of SSIM


@dataclass(frozen=True)
class Task:
    """An image to prepare."""

    number: int
    source: Path
    set: str
    name: str
    part: Part
    folder: Path  # being prepared
    options: Prepare
    inputs: tuple[Input, ...]  # the LR images to make
    reference: bool = True  # False for an image without an original, which is the input itself

    @property
    def files(self) -> list[Path]:
        """The files to write: pixels for the store, or HR and LR images as PNG."""
        if self.part == "train":
            return [self.folder / f".{self.number}-{factor}.u8" for factor in (1, *self.options.reduced)]
        folders = [*([f"{self.set}/hr"] if self.reference else []), *(f"{made.set}/lr" for made in self.inputs)]
        return [self.folder / self.part / folder / f"{self.name}.png" for folder in folders]


@dataclass(frozen=True)
class Done:
    """A prepared image."""

    task: Task
    bad: str = ""  # the reason to skip the image
    pixels: str = ""  # digest
    size: tuple[int, int] = (0, 0)  # HR height and width
    records: list[Record] = field(default_factory=list)  # of each LR image, for the manifest. The store's have none, but for own ones
    packed: dict[int, Packed] = field(default_factory=dict)  # for the store: the image, 1, and its reduced copies by their factors
    matches: list[tuple[str, int]] = field(default_factory=list)  # references that this training image shows
    fingerprint: near_duplicates.Fingerprint | None = None

    @property
    def label(self) -> str:
        """Name of the image in the store and in messages."""
        return f"{self.task.set}/{self.task.name}"

    def note(self) -> Record:
        """Return what `of_note` needs for a training image, as JSON can hold it."""
        packed = {str(factor): one[1:] for factor, one in self.packed.items()}
        return {
            "number": self.task.number,
            "bad": self.bad,
            "pixels": self.pixels,
            "size": self.size,
            "records": self.records,
            "packed": packed,
            "matches": self.matches,
        }

    @classmethod
    def of_note(cls, task: Task, note: Record) -> "Done":
        """Return a training image that an earlier program prepared. The files of `packed` are gone."""
        packed = {int(factor): Packed(Path(), *one) for factor, one in note["packed"].items()}
        height, width = note["size"]
        matches = [(label, count) for label, count in note["matches"]]
        return cls(task, note["bad"], note["pixels"], (height, width), note["records"], packed, matches)


def prepare_one(task: Task, references: near_duplicates.References | None = None) -> Done:
    """Write the files of an image, unless it cannot be used, or shows one of the references."""
    try:
        # Test images have 8 bits, as those of published scores do.
        deep = read_deep(task.source) if task.part != "test" and task.options.bits == 16 else None
        image = shallow = read_image(task.source) if deep is None else to_uint8(deep)
    except SrganError as error:
        return Done(task, bad=reason(error, task.source))
    if not task.reference:
        return _prepare_input(task, image)
    if task.options.channels == 1 and task.part != "test":  # test images keep their colours, whose luma the network upscales
        image, deep = as_grey(image), None if deep is None else as_grey(deep)
        shallow = image
    hr_image = modcrop(image, task.options.scale)
    if min(hr_image.shape[:2]) < MIN_SIDE:
        return Done(task, bad=f"{hr_image.shape[1]}x{hr_image.shape[0]} pixels, smaller than {MIN_SIDE}x{MIN_SIDE}")
    pixels = digest_of_pixels(image)
    if references and (matches := references.find(near_duplicates.fingerprint(image), pixels)):
        return Done(task, pixels=pixels, size=(image.shape[0], image.shape[1]), matches=matches)
    if deep is not None:
        image, hr_image = deep, modcrop(deep, task.options.scale)
    try:
        own = next((read_pair(one.source, image, task.options) for one in task.inputs if one.source), None)
        hr_image = own.hr_image if own else hr_image
        made = [
            (own.lr_image, own.record) if own and one.source else make_input(one, hr_image, pixels, task.options) for one in task.inputs
        ]
    except SrganError as error:
        return Done(task, bad=str(error))
    size = (hr_image.shape[0], hr_image.shape[1])
    if task.part == "train":
        packed = {1: _pack(task, 1, hr_image, [lr_image for lr_image, _ in made])}
        return Done(task, pixels=pixels, size=size, packed=packed | _pack_reduced(task, image, pixels), records=[own.record] if own else [])
    hr_path, *lr_paths = task.files
    records = [{"lr_sha256": _write_png(path, lr_image)} | drawn for path, (lr_image, drawn) in zip(lr_paths, made, strict=True)]
    hr_sha256 = _write_png(hr_path, hr_image)
    records = [record | {"hr_sha256": hr_sha256} for record in records]
    return Done(task, pixels=pixels, size=size, records=records, fingerprint=near_duplicates.fingerprint(shallow))


def _pack_reduced(task: Task, image: np.ndarray, pixels: str) -> dict[int, Packed]:
    packed = {}
    for factor, copy in reduced_copies(image, task.options).items():
        packed[factor] = _pack(task, factor, copy, [make_input(one, copy, pixels, task.options)[0] for one in task.inputs])
    return packed


def _pack(task: Task, factor: int, hr_image: np.ndarray, lr_images: list[np.ndarray]) -> Packed:
    """Write a training image, or a reduced copy of it, with the channels of the store."""
    path = task.files[(1, *task.options.reduced).index(factor)]
    return pack(path, *(image[..., None] if task.options.channels == 1 else as_rgb(image) for image in (hr_image, *lr_images)))


def _prepare_input(task: Task, image: np.ndarray) -> Done:
    """Write a test image without an original."""
    size = (image.shape[0] * task.options.scale, image.shape[1] * task.options.scale)
    if min(size) < MIN_SIDE:
        return Done(task, bad=f"{image.shape[1]}x{image.shape[0]} pixels, the output would be smaller than {MIN_SIDE}x{MIN_SIDE}")
    records = [{"lr_sha256": _write_png(task.files[0], image), "reference": False}]
    fingerprint = near_duplicates.fingerprint(image)
    return Done(task, pixels=digest_of_pixels(image), size=size, records=records, fingerprint=fingerprint)


def _write_png(path: Path, image: np.ndarray) -> str:
    """Write a PNG and return its SHA-256. The folder is temporary, so the file need not be atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = encode_png(image)
    path.write_bytes(encoded)
    return hashlib.sha256(encoded).hexdigest()
