"""Prepare raw images: a split without leaks, the packed store for training, HR/LR pairs for validation and test, and a manifest.

Several processes decode each image once. The main process collects the results in the order of the listing, so the result does not
depend on the number of processes. Memory holds a few images only.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from srgan.config.data import Prepare
from srgan.data import checks, near_duplicates
from srgan.data.digests import digest_of_tests, digest_of_training
from srgan.data.inputs import Input, Record, digest_of_pixels, make_input, read_pair, reason, recipes_of_test_sets, reduced_copies, variants
from srgan.data.layouts import lr_of, other_scales
from srgan.data.manifest import FILE, Part
from srgan.data.names import unique_names
from srgan.data.packed_store import Packed, StoreWriter, pack
from srgan.data.split import split
from srgan.degradations.bicubic import modcrop
from srgan.degradations.recipe import Recipe
from srgan.images.png import encode_png
from srgan.images.read import as_grey, as_rgb, read_image
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, read_json, require, write_json
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

MIN_SIDE = 32  # pixels. Smaller images have no room for a patch and for the window of SSIM
BENCHMARKS = Path(__file__).with_name("benchmarks.npz")  # fingerprints of Set5, Set14 and B100

log = logging.getLogger(__name__)

# -- one image, in a worker process -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    number: int
    source: Path
    set: str
    name: str
    part: Part
    folder: Path  # being prepared
    options: Prepare
    inputs: tuple[Input, ...]  # the LR images to make
    reference: bool = True  # False for an image without an original, which is the input itself
    references: Path | None = None  # fingerprints to compare training images with

    @property
    def files(self) -> list[Path]:
        """The files to write: pixels for the store, or HR and LR images as PNG."""
        if self.part == "train":
            return [self.folder / f".{self.number}-{factor}.u8" for factor in (1, *self.options.reduced)]
        folders = [*([f"{self.set}/hr"] if self.reference else []), *(f"{made.set}/lr" for made in self.inputs)]
        return [self.folder / self.part / folder / f"{self.name}.png" for folder in folders]


@dataclass(frozen=True)
class _Done:
    task: _Task
    bad: str = ""  # the reason to skip the image
    pixels: str = ""  # digest
    size: tuple[int, int] = (0, 0)  # HR height and width
    records: list[Record] = field(default_factory=list)  # of each LR image, for the manifest. The store's have none, but for own ones
    packed: dict[int, Packed] = field(default_factory=dict)  # for the store: the image, 1, and its reduced copies by their factors
    matches: list[tuple[str, int]] = field(default_factory=list)  # references that this training image shows
    fingerprint: near_duplicates.Fingerprint | None = None


def _prepare_one(task: _Task) -> _Done:
    try:
        image = read_image(task.source)
    except SrganError as error:
        return _Done(task, bad=reason(error, task.source))
    if not task.reference:
        return _prepare_input(task, image)
    if task.options.channels == 1 and task.part != "test":  # test images keep their colours, whose luma the network upscales
        image = as_grey(image)
    hr_image = modcrop(image, task.options.scale)
    if min(hr_image.shape[:2]) < MIN_SIDE:
        return _Done(task, bad=f"{hr_image.shape[1]}x{hr_image.shape[0]} pixels, smaller than {MIN_SIDE}x{MIN_SIDE}")
    pixels = digest_of_pixels(image)
    if task.references and (matches := _references(task.references).find(near_duplicates.fingerprint(image), pixels)):
        return _Done(task, pixels=pixels, size=(image.shape[0], image.shape[1]), matches=matches)
    try:
        own = next((read_pair(one.source, image, task.options) for one in task.inputs if one.source), None)
        hr_image = own.hr_image if own else hr_image
        made = [
            (own.lr_image, own.record) if own and one.source else make_input(one, hr_image, pixels, task.options) for one in task.inputs
        ]
    except SrganError as error:
        return _Done(task, bad=str(error))
    size = (hr_image.shape[0], hr_image.shape[1])
    if task.part == "train":
        packed = {1: _pack(task, 1, hr_image, [lr_image for lr_image, _ in made])}
        return _Done(
            task, pixels=pixels, size=size, packed=packed | _pack_reduced(task, image, pixels), records=[own.record] if own else []
        )
    hr_path, *lr_paths = task.files
    records = [{"lr_sha256": _write_png(path, lr_image)} | drawn for path, (lr_image, drawn) in zip(lr_paths, made, strict=True)]
    hr_sha256 = _write_png(hr_path, hr_image)
    records = [record | {"hr_sha256": hr_sha256} for record in records]
    return _Done(task, pixels=pixels, size=size, records=records, fingerprint=near_duplicates.fingerprint(image))


def _pack_reduced(task: _Task, image: np.ndarray, pixels: str) -> dict[int, Packed]:
    packed = {}
    for factor, copy in reduced_copies(image, task.options).items():
        packed[factor] = _pack(task, factor, copy, [make_input(one, copy, pixels, task.options)[0] for one in task.inputs])
    return packed


def _pack(task: _Task, factor: int, hr_image: np.ndarray, lr_images: list[np.ndarray]) -> Packed:
    """Write a training image, or a reduced copy of it, with the channels of the store."""
    path = task.files[(1, *task.options.reduced).index(factor)]
    return pack(path, *(image[..., None] if task.options.channels == 1 else as_rgb(image) for image in (hr_image, *lr_images)))


def _prepare_input(task: _Task, image: np.ndarray) -> _Done:
    """Write a test image without an original."""
    size = (image.shape[0] * task.options.scale, image.shape[1] * task.options.scale)
    if min(size) < MIN_SIDE:
        return _Done(task, bad=f"{image.shape[1]}x{image.shape[0]} pixels, the output would be smaller than {MIN_SIDE}x{MIN_SIDE}")
    records = [{"lr_sha256": _write_png(task.files[0], image), "reference": False}]
    fingerprint = near_duplicates.fingerprint(image)
    return _Done(task, pixels=digest_of_pixels(image), size=size, records=records, fingerprint=fingerprint)


def _write_png(path: Path, image: np.ndarray) -> str:
    """Write a PNG and return its SHA-256. The folder is temporary, so the file need not be atomic."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = encode_png(image)
    path.write_bytes(encoded)
    return hashlib.sha256(encoded).hexdigest()


@cache
def _references(path: Path) -> near_duplicates.References:
    return near_duplicates.References.load(path)


# -- all images -----------------------------------------------------------------------------------------------------------

Run = Callable[[Iterable[_Task]], Iterator[_Done | Lost[_Task]]]


def prepare(raw: Path, out: Path, options: Prepare, processes: int = 1) -> Record:
    """Write the prepared folder atomically from the downloaded images.

    Three kinds of images are omitted: training images that show a validation, test or benchmark image, validation images that show a
    test or benchmark image, and copies of other training images. The manifest lists them under `leaks` and `duplicates`. It lists
    unreadable images under `skipped`, images that fail the checks under `rejected`, and files that are no images under `left_out`.

    Args:
        raw: output of `srgan.stages.download`.
        out: destination. A former folder is replaced.
        options: ``prepare`` of ``params.yaml``.
        processes: number of worker processes. The result does not depend on it.

    Returns:
        The manifest.

    Raises:
        NotPrepared: more images than `options.max_unreadable` cannot be used, or nothing is left for a part.
    """
    listing = read_json(raw / "manifest.json", made_by="download")
    if not isinstance(listing, dict) or "images" not in listing:
        raise SrganError(f"{raw / 'manifest.json'}: not a list of downloaded images. Make it again with: dvc repro -sf download")
    listing, rejected = checks.select(raw, listing, options.checks, processes)
    with atomic_folder(out) as folder, Workers(_prepare_one, processes) as workers:
        manifest = _Preparation(raw, folder, options, listing).make(workers.map) | ({"rejected": rejected} if rejected else {})
        write_json(folder / FILE, manifest)
    return manifest


class NotPrepared(SrganError):
    """Too many images cannot be used, or a part is empty. `left_out` has the manifest's lists of omitted images."""

    def __init__(self, message: str, left_out: dict[str, list[Any]]) -> None:
        super().__init__(message)
        self.left_out = left_out


class _Preparation:
    def __init__(self, raw: Path, folder: Path, options: Prepare, listing: Record) -> None:
        self.folder, self.options, self.sources = folder, options, listing["images"]
        self.recipe, self.variants = Recipe(options.recipe), variants(options)
        self.test_inputs = recipes_of_test_sets(listing.get("inputs", []), raw / "manifest.json")
        for recipe in (self.recipe, *(recipe for made in self.test_inputs.values() for _, recipe in made if recipe)):
            recipe.check_packages()
        sources = self.sources
        self.left_out = listing.get("left_out", []) + other_scales(sources, options.scale)
        self.skipped: list[dict[str, str]] = []
        self.leaks: list[Record] = []
        self.duplicates: list[dict[str, str]] = []
        training = [record for record in sources if record["split"] == "train"]
        assigned = split(training, options.validation, options.test, options.seed)
        parts = dict(zip((record["path"] for record in training), assigned, strict=True))
        groups: dict[str, dict[str, str]] = {}  # training and test images of a set share names
        for record in sources:
            groups.setdefault(record["set"], {})[record["path"]] = record.get("name", record["path"].split("/", 2)[2])
        self.lr_images = [lr_of(record, options.scale) for record in sources]  # of the data sets
        self._refuse_own_lr_images()
        names: dict[str, str] = {}
        for group in groups.values():
            names |= dict(zip(group, unique_names(list(group.values())), strict=True))
        self.tasks = [
            _Task(
                number,
                require(raw / record["path"], "download"),
                record["set"],
                names[record["path"]],
                part := parts.get(record["path"], "test"),
                folder,
                options,
                self._inputs(record, part, require(raw / lr_image["path"], "download") if lr_image else None),
                record.get("reference", True),
            )
            for number, (record, lr_image) in enumerate(zip(sources, self.lr_images, strict=True))
        ]

    def _refuse_own_lr_images(self) -> None:
        """Refuse training images with LR images of their own if a recipe would replace those, or reduced copies would have none."""
        replaced = "" if self.recipe.is_bicubic else "which prepare.recipe would replace. Set prepare.recipe to bicubic"
        missing = "which reduced copies do not have. Set prepare.reduced to []" if self.options.reduced else ""
        for record, lr_image in zip(self.sources, self.lr_images, strict=True):
            if lr_image and record["split"] == "train" and (problem := replaced or missing):
                raise SrganError(
                    f"params.yaml: data set {record['set']} has LR images of its own, {problem}, "
                    "or name the HR images alone with {folder: ..., hr: ...}"
                )

    def _inputs(self, record: Record, part: Part, own: Path | None) -> tuple[Input, ...]:
        """Return the LR images to make from an image. `own` is that of the data set."""
        name = record["set"]
        if part == "train":
            return tuple(Input(name, self.recipe, own, variant) for variant in range(self.variants))
        made = self.test_inputs.get(name) if record["split"] == "test" else None
        return tuple(Input(of, recipe or self.recipe, None if recipe else own) for of, recipe in made or [(name, None)])

    def make(self, run: Run) -> Record:
        tasks = {part: [task for task in self.tasks if task.part == part] for part in ("train", "validation", "test")}
        results: dict[int, _Done] = {}
        parts: dict[str, Part] = {}  # label -> part of the held-out images
        with Progress("prepare", len(self.tasks), "image") as progress:

            def taken(tasks: list[_Task]) -> Iterator[_Done]:
                for done in run(tasks):
                    progress.add(1)
                    if isinstance(done, Lost):
                        self._remove(done.item)
                        self._skip(done.item, done.reason)
                    elif done.bad:
                        self._skip(done.task, done.bad)
                    else:
                        yield done

            # Benchmarks that are not scored this time are references too. The others are references by their own images.
            scored = {record["set"] for record in self.sources if record["split"] == "test"}
            references = near_duplicates.References.load(BENCHMARKS, without=scored)
            validation = near_duplicates.References()
            for done in taken(tasks["test"] + tasks["validation"]):
                assert done.fingerprint is not None
                known = references if done.task.part == "test" else validation
                if known is validation and (shows := references.find(done.fingerprint, done.pixels)):
                    self._leak(done, shows, parts)
                    continue
                known.add(_label(done), done.fingerprint, done.pixels)
                parts[_label(done)] = done.task.part
                results[done.task.number] = replace(done, fingerprint=None)
            references.join(validation)
            path = self.folder / ".references.npz"
            references.save(path)
            self._pack(taken([replace(task, references=path) for task in tasks["train"]]), results, parts)
            path.unlink()
        return self._manifest(results)

    def _skip(self, task: _Task, reason: str) -> None:
        self.skipped.append({"image": self.sources[task.number]["path"], "reason": reason})
        log.warning("skipped %s: %s", self.skipped[-1]["image"], reason)

    def _remove(self, task: _Task) -> None:
        """Delete the written files of an image."""
        for path in task.files:
            path.unlink(missing_ok=True)

    def _leak(self, done: _Done, shows: list[tuple[str, int]], parts: dict[str, Part]) -> None:
        """Record an image that shows references, and delete its files."""
        self._remove(done.task)
        label, source = _label(done), self.sources[done.task.number]["path"]
        for of, matches in shows:
            self.leaks.append({"image": label, "source": source, "part": parts.get(of, "benchmark"), "of": of, "matches": matches})
        log.warning("left out %s: it shows %s", label, ", ".join(of for of, _ in shows))

    def _pack(self, training: Iterator[_Done], results: dict[int, _Done], parts: dict[str, Part]) -> None:
        seen: dict[str, str] = {}
        with StoreWriter(self.folder, self.options.scale, self.recipe, self.variants, self.options.channels) as store:
            for done in training:
                label = _label(done)
                if done.matches:
                    self._leak(done, done.matches, parts)
                    continue
                if done.pixels in seen:
                    self.duplicates.append({"image": label, "of": seen[done.pixels]})
                    log.warning("left out %s: a copy of %s", label, seen[done.pixels])
                    self._remove(done.task)
                    continue
                seen[done.pixels] = label
                for factor, packed in done.packed.items():
                    store.add(label if factor == 1 else f"{label} (1/{factor})", packed)
                results[done.task.number] = done

    def _manifest(self, results: dict[int, _Done]) -> Record:
        options = self.options
        images = []
        for number, done in sorted(results.items()):
            record = self.sources[number]
            image = {
                "name": done.task.name,
                "part": done.task.part,
                "height": done.size[0],
                "width": done.size[1],
                "source": record["path"],
                "source_sha256": record["sha256"],
                "licence": record["licence"],
            }
            own = self.lr_images[number]
            if done.task.part == "train" and not done.records:
                reduced = {"reduced": [factor for factor in done.packed if factor > 1]} if options.reduced else {}
                images.append({"set": done.task.set} | image | {"own_lr": False} | reduced)
            for made, of_input in zip(done.task.inputs, done.records, strict=False):
                original = {} if made.set == done.task.set else {"original": done.task.set}
                lr_image = {"own_lr": True, "lr_source": own["path"]} if own and made.source else {"own_lr": False}
                images.append({"set": made.set} | original | image | lr_image | of_input)
        left_out: dict[str, list[Any]] = {
            "skipped": self.skipped,
            "leaks": self.leaks,
            "duplicates": self.duplicates,
            "left_out": self.left_out,
        }
        if len(self.skipped) > options.max_unreadable:
            shown = "; ".join(f"{bad['image']}: {bad['reason']}" for bad in self.skipped[:3]) + ("; ..." if len(self.skipped) > 3 else "")
            raise NotPrepared(
                f"{len(self.skipped)} of {len(self.sources)} images cannot be used, "
                f"prepare.max_unreadable allows {options.max_unreadable}: {shown}. "
                "Replace or delete them, or raise prepare.max_unreadable",
                left_out,
            )
        for part in ("train", "validation", "test"):
            if not any(image["part"] == part for image in images):
                why = f"{len(self.leaks)} show held-out images, " if self.leaks else ""
                message = f"no {part} image is left ({why}{len(self.skipped)} cannot be used). Name more data in params.yaml"
                raise NotPrepared(message, left_out)
        given = {record["path"]: [lr_image["sha256"]] for record, lr_image in zip(self.sources, self.lr_images, strict=True) if lr_image}
        recipes = {name: made for inputs in self.test_inputs.values() for name, made in inputs if made}  # of the test sets that have one
        recipe = self.recipe
        return (
            {
                "scale": options.scale,
                "kernel": options.kernel,
                "seed": options.seed,
                "validation": options.validation,
                "test": options.test,
                "train_sha256": digest_of_training(images, given, recipe, self.variants, options),
                "test_sha256": digest_of_tests(images, given, recipe, recipes, options),
            }
            | ({"channels": 1} if options.channels == 1 else {})
            | ({} if recipe.is_bicubic else {"recipe": recipe.describe()})
            | ({"test_recipes": {name: made.describe() for name, made in recipes.items()}} if recipes else {})
            | {"images": images}
            | left_out
        )


def _label(done: _Done) -> str:
    return f"{done.task.set}/{done.task.name}"
