"""Prepare raw images: a split without leaks, the packed store for training, HR/LR pairs for validation and test, and a manifest.

Several processes decode each image once. The main process collects the results in the order of the listing, so the result does not
depend on the number of processes. Memory holds a few images only, and the fingerprints of the test and validation images. What is known of
each image is on the disk (`srgan.utils.disk`).
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path

from srgan import __version__
from srgan.config.data import Prepare
from srgan.data import checks, near_duplicates
from srgan.data.inputs import Input, Record, recipes_of_test_sets, variants
from srgan.data.layouts import lr_of, other_scales
from srgan.data.manifest import FILE, PARTS, Part
from srgan.data.names import UniqueNames
from srgan.data.packed_store import FOLDER
from srgan.data.prepare_image import Done, Task, prepare_one
from srgan.data.prepare_manifest import Made, make_manifest, rows_of
from srgan.data.shard_cache import INDEX
from srgan.data.split import split
from srgan.data.store_writer import SHARD_BYTES, Packed, StoreWriter
from srgan.degradations.recipe import Recipe
from srgan.utils import long_json
from srgan.utils.disk import DiskDict, DiskList
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_folder, digest, one_at_a_time, read_json, read_json_or_none, require, write_json
from srgan.utils.progress import Progress
from srgan.utils.workers import Engine, Lost, Workers

BENCHMARKS = Path(__file__).with_name("benchmarks.npz")  # fingerprints of Set5, Set14 and B100
NOTES = "notes"  # of the finished shards, for a preparation that is killed

log = logging.getLogger(__name__)


def prepare(
    raw: Path,
    out: Path,
    options: Prepare,
    processes: int = 1,
    shard_bytes: int = SHARD_BYTES,
    engine: Engine | None = None,
    parts: tuple[Part, ...] = PARTS,
) -> Record:
    """Write the prepared folder atomically from the downloaded images.

    Three kinds of images are omitted: training images that show a validation, test or benchmark image, validation images that show a
    test or benchmark image, and copies of other training images. The manifest lists them under `leaks` and `duplicates`. It lists
    unreadable images under `skipped`, images that fail the checks under `rejected`, and files that are no images under `left_out`.

    A killed preparation leaves the finished shards of its store in ``OUT.partial``. The next one with the same images and options makes
    the other shards. The result is the same.

    Args:
        raw: output of `srgan.stages.download`.
        out: destination. A former folder is replaced.
        options: ``prepare`` of ``params.yaml``.
        processes: number of worker processes. The result does not depend on it.
        shard_bytes: largest shard of the store.
        engine: what processes the images, instead of processes of this machine. The result does not depend on it.
        parts: those that need an image.

    Returns:
        The manifest. Its `images` are a `DiskList`.

    Raises:
        NotPrepared: more images than `options.max_unreadable` cannot be used, or nothing is left for a part.
    """
    listing = long_json.read(raw / "manifest.json", "images", made_by="download")
    if not isinstance(listing, dict) or "images" not in listing:
        raise SrganError(f"{raw / 'manifest.json'}: not a list of downloaded images. Make it again with: dvc repro -sf download")
    engine = engine or partial(Workers, processes=processes)
    listing, rejected = checks.select(raw, listing, options.checks, engine)
    rules = options.model_dump(mode="json", exclude={"max_unreadable"})
    others = {name: value for name, value in listing.items() if name != "images"}
    key = digest([__version__, Recipe(options.recipe).digest, rules, shard_bytes, others, long_json.digest(listing["images"])])
    with _unfinished(out, key) as shards, atomic_folder(out) as folder:
        manifest = _Preparation(raw, folder, shards, options, listing, shard_bytes).make(engine, parts)
        manifest |= {"rejected": rejected} if rejected else {}
        (shards / FOLDER).replace(folder / FOLDER)
        long_json.write(folder / FILE, manifest)
    return manifest


@contextmanager
def _unfinished(out: Path, key: str) -> Iterator[Path]:
    """Yield a folder for finished shards, which has those of an interrupted preparation with the same key.

    It is removed if the block succeeds, or fails without a finished shard.
    """
    folder = out.resolve().with_name(f"{out.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / "lock"):
        if read_json_or_none(folder / "key.json") != key:
            for part in (FOLDER, NOTES):
                shutil.rmtree(folder / part, ignore_errors=True)
            write_json(folder / "key.json", key)
        try:
            yield folder
        except BaseException:
            if any((folder / NOTES).glob("*.json")):
                log.info("%s has the finished shards of the store. The next preparation with the same data and options uses them", folder)
            else:
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _path_in_set(record: Record) -> str:
    return str(record.get("name", record["path"].split("/", 2)[2]))


class _Preparation:
    def __init__(self, raw: Path, folder: Path, shards: Path, options: Prepare, listing: Record, shard_bytes: int) -> None:
        self.folder, self.shards, self.shard_bytes = folder, shards, shard_bytes
        self.raw, self.options = raw, options
        self.recipe, self.variants = Recipe(options.recipe), variants(options)
        self.test_inputs = recipes_of_test_sets(listing.get("inputs", []), raw / "manifest.json")
        for recipe in (self.recipe, *(recipe for made in self.test_inputs.values() for _, recipe in made if recipe)):
            recipe.check_packages()
        self.left_out = listing.get("left_out", []) + other_scales(listing["images"], options.scale)
        self.skipped: list[dict[str, str]] = []
        self.leaks: list[Record] = []
        self.duplicates: list[dict[str, str]] = []
        self.rows = DiskDict()  # of the manifest, by the number of the image
        self.parts = DiskDict()  # of the held-out images, by their labels
        self.sources = DiskList(self._planned(listing["images"]))

    def _planned(self, images: Sequence[Record]) -> Iterator[Record]:
        """Yield the records of the images with their part and name, after a check of their files."""
        training = (record for record in images if record["split"] == "train")
        assigned = iter(split(training, self.options.validation, self.options.test, self.options.seed))
        names = UniqueNames((record["set"], _path_in_set(record)) for record in images)  # training and test images of a set share names
        for record in images:
            lr_image = lr_of(record, self.options.scale)  # of the data set
            if lr_image and record["split"] == "train":
                self._refuse_own_lr_image(record)
            for given in (record, lr_image) if lr_image else (record,):
                require(self.raw / given["path"], "download")
            part = next(assigned) if record["split"] == "train" else "test"
            yield record | {"part": part, "label": names(record["set"], _path_in_set(record))}

    def _refuse_own_lr_image(self, record: Record) -> None:
        """Refuse a training image with an LR image of its own if a recipe would replace that, or if it cannot be used."""
        shallow = "which are read with 8 bits. Set prepare.bits to 8" if self.options.bits == 16 else ""
        replaced = "" if self.recipe.is_bicubic else "which prepare.recipe would replace. Set prepare.recipe to bicubic"
        missing = "which reduced copies do not have. Set prepare.reduced to []" if self.options.reduced else ""
        if problem := replaced or missing or shallow:
            raise SrganError(
                f"params.yaml: data set {record['set']} has LR images of its own, {problem}, "
                "or name the HR images alone with {folder: ..., hr: ...}"
            )

    def _tasks(self, part: Part, first: int = 0) -> Iterator[Task]:
        """Yield the images of a part, from the given one on."""
        numbers = (number for number, record in enumerate(self.sources) if record["part"] == part)
        return map(self._task, islice(numbers, first, None))

    def _task(self, number: int) -> Task:
        record = self.sources[number]
        source, lr_image = self.raw / record["path"], lr_of(record, self.options.scale)
        inputs = self._inputs(record, self.raw / lr_image["path"] if lr_image else None)
        reference = record.get("reference", True)
        return Task(number, source, record["set"], record["label"], record["part"], self.folder, self.options, inputs, reference)

    def _inputs(self, record: Record, own: Path | None) -> tuple[Input, ...]:
        """Return the LR images to make from an image. `own` is that of the data set."""
        name = record["set"]
        if record["part"] == "train":
            return tuple(Input(name, self.recipe, own, variant) for variant in range(self.variants))
        made = self.test_inputs.get(name) if record["split"] == "test" else None
        return tuple(Input(of, recipe or self.recipe, None if recipe else own) for of, recipe in made or [(name, None)])

    def make(self, engine: Engine, needed: tuple[Part, ...]) -> Record:
        with Progress("prepare", len(self.sources), "image") as progress:

            def counted(answers: Iterable[Done | Lost[Task]]) -> Iterator[Done]:
                for done in answers:
                    progress.add(1)
                    yield Done(done.item, bad=done.reason) if isinstance(done, Lost) else done

            with engine(prepare_one) as workers:
                references = self._hold_out(counted(workers.map(chain(self._tasks("test"), self._tasks("validation")))))

            def still_holds(number: int, note: Record) -> bool:
                """Return True unless an image that could not be used can be used now."""
                return not note["bad"] or bool(prepare_one(self._task(note["number"])).bad)

            options, resumable = self.options, (self.shard_bytes, self.shards / NOTES, still_holds)
            with (
                engine(partial(prepare_one, references=references)) as workers,
                StoreWriter(self.shards, options.scale, self.recipe, self.variants, options.channels, options.bits, *resumable) as store,
            ):
                finished = map(Done.of_note, self._tasks("train"), store.resumed)
                if resumed := len(store.resumed):
                    log.info("%d training images are in finished shards of an earlier preparation", resumed)
                progress.add(resumed)
                self._pack(store, chain(finished, counted(workers.map(self._tasks("train", resumed)))))
        left_out = {"skipped": self.skipped, "leaks": self.leaks, "duplicates": self.duplicates, "left_out": self.left_out}
        made = Made(self.sources, self.options, self.recipe, self.variants, self.test_inputs, self.rows, left_out)
        return make_manifest(made, needed) | {"store_sha256": read_json(store.folder / INDEX, made_by="prepare")["sha256"]}

    def _hold_out(self, held_out: Iterator[Done]) -> near_duplicates.References:
        """Take the test images and the validation images that show none of them. Return what training images are compared with."""
        # Benchmarks that are not scored this time are references too. The others are references by their own images.
        scored = {record["set"] for record in self.sources if record["split"] == "test"}
        references = near_duplicates.References.load(BENCHMARKS, without=scored)
        validation = near_duplicates.References()
        for done in held_out:
            if done.bad:
                self._skip(done)
                continue
            assert done.fingerprint is not None
            known = references if done.task.part == "test" else validation
            if known is validation and (shows := references.find(done.fingerprint, done.pixels)):
                self._leak(done, shows)
                continue
            known.add(done.label, done.fingerprint, done.pixels)
            self.parts[done.label] = done.task.part
            self._keep(done)
        references.join(validation)
        return references.build()

    def _skip(self, done: Done) -> None:
        self._remove(done.task)
        self.skipped.append({"image": self.sources[done.task.number]["path"], "reason": done.bad})
        log.warning("skipped %s: %s", self.skipped[-1]["image"], done.bad)

    def _keep(self, done: Done) -> None:
        self.rows[done.task.number] = rows_of(done, self.sources[done.task.number])

    def _remove(self, task: Task) -> None:
        """Delete the written files of an image."""
        for path in task.files:
            path.unlink(missing_ok=True)

    def _leak(self, done: Done, shows: list[tuple[str, int]]) -> None:
        """Record an image that shows references, and delete its files."""
        self._remove(done.task)
        label, source = done.label, self.sources[done.task.number]["path"]
        for of, matches in shows:
            self.leaks.append({"image": label, "source": source, "part": self.parts.get(of, "benchmark"), "of": of, "matches": matches})
        log.warning("left out %s: it shows %s", label, ", ".join(of for of, _ in shows))

    def _pack(self, store: StoreWriter, training: Iterator[Done]) -> None:
        seen = DiskDict()  # labels by the digests of the pixels
        for done in training:
            images: list[tuple[str, Packed]] = []
            if done.bad:
                self._skip(done)
            elif done.matches:
                self._leak(done, done.matches)
            elif (first := seen.setdefault(done.pixels, done.label)) != done.label:
                self.duplicates.append({"image": done.label, "of": first})
                log.warning("left out %s: a copy of %s", done.label, first)
                self._remove(done.task)
            else:
                images = [(done.label if factor == 1 else f"{done.label} (1/{factor})", one) for factor, one in done.packed.items()]
                self._keep(done)
            store.add_group(images, done.note())
