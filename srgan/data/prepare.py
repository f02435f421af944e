"""Prepare raw images: a split without leaks, the packed store for training, HR/LR pairs for validation and test, and a manifest.

Several processes decode each image once. The main process collects the results in the order of the listing, so the result does not
depend on the number of processes. Memory holds a few images only.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from srgan import __version__
from srgan.config.data import Prepare
from srgan.data import checks, near_duplicates
from srgan.data.inputs import Input, Record, recipes_of_test_sets, variants
from srgan.data.layouts import lr_of, other_scales
from srgan.data.manifest import FILE, Part
from srgan.data.names import unique_names
from srgan.data.packed_store import FOLDER
from srgan.data.prepare_image import Done, Task, prepare_one
from srgan.data.prepare_manifest import PARTS, Made, make_manifest
from srgan.data.shard_cache import INDEX
from srgan.data.split import split
from srgan.data.store_writer import SHARD_BYTES, Packed, StoreWriter
from srgan.degradations.recipe import Recipe
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
        The manifest.

    Raises:
        NotPrepared: more images than `options.max_unreadable` cannot be used, or nothing is left for a part.
    """
    listing = read_json(raw / "manifest.json", made_by="download")
    if not isinstance(listing, dict) or "images" not in listing:
        raise SrganError(f"{raw / 'manifest.json'}: not a list of downloaded images. Make it again with: dvc repro -sf download")
    engine = engine or partial(Workers, processes=processes)
    listing, rejected = checks.select(raw, listing, options.checks, engine)
    rules = options.model_dump(mode="json", exclude={"max_unreadable"})
    key = digest([__version__, Recipe(options.recipe).digest, rules, shard_bytes, listing])
    with _unfinished(out, key) as shards, atomic_folder(out) as folder:
        manifest = _Preparation(raw, folder, shards, options, listing, shard_bytes).make(engine, parts)
        manifest |= {"rejected": rejected} if rejected else {}
        (shards / FOLDER).replace(folder / FOLDER)
        write_json(folder / FILE, manifest)
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


class _Preparation:
    def __init__(self, raw: Path, folder: Path, shards: Path, options: Prepare, listing: Record, shard_bytes: int) -> None:
        self.folder, self.shards, self.shard_bytes = folder, shards, shard_bytes
        self.options, self.sources = options, listing["images"]
        self.recipe, self.variants = Recipe(options.recipe), variants(options)
        self.test_inputs = recipes_of_test_sets(listing.get("inputs", []), raw / "manifest.json")
        for recipe in (self.recipe, *(recipe for made in self.test_inputs.values() for _, recipe in made if recipe)):
            recipe.check_packages()
        sources = self.sources
        self.left_out = listing.get("left_out", []) + other_scales(sources, options.scale)
        self.skipped: list[dict[str, str]] = []
        self.leaks: list[Record] = []
        self.duplicates: list[dict[str, str]] = []
        self.results: dict[int, Done] = {}
        self.parts: dict[str, Part] = {}  # label -> part of the held-out images
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
            Task(
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
        """Refuse training images with LR images of their own if a recipe would replace those, or if they cannot be used."""
        shallow = "which are read with 8 bits. Set prepare.bits to 8" if self.options.bits == 16 else ""
        replaced = "" if self.recipe.is_bicubic else "which prepare.recipe would replace. Set prepare.recipe to bicubic"
        missing = "which reduced copies do not have. Set prepare.reduced to []" if self.options.reduced else ""
        for record, lr_image in zip(self.sources, self.lr_images, strict=True):
            if lr_image and record["split"] == "train" and (problem := replaced or missing or shallow):
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

    def make(self, engine: Engine, needed: tuple[Part, ...]) -> Record:
        tasks = {part: [task for task in self.tasks if task.part == part] for part in ("train", "validation", "test")}
        with Progress("prepare", len(self.tasks), "image") as progress:

            def counted(answers: Iterable[Done | Lost[Task]]) -> Iterator[Done]:
                for done in answers:
                    progress.add(1)
                    yield Done(done.item, bad=done.reason) if isinstance(done, Lost) else done

            with engine(prepare_one) as workers:
                references = self._hold_out(counted(workers.map(tasks["test"] + tasks["validation"])))

            def still_holds(number: int, note: Record) -> bool:
                """Return True unless an image that could not be used can be used now."""
                return not note["bad"] or bool(prepare_one(tasks["train"][number]).bad)

            options, resumable = self.options, (self.shard_bytes, self.shards / NOTES, still_holds)
            with (
                engine(partial(prepare_one, references=references)) as workers,
                StoreWriter(self.shards, options.scale, self.recipe, self.variants, options.channels, options.bits, *resumable) as store,
            ):
                finished = [Done.of_note(task, note) for task, note in zip(tasks["train"], store.resumed, strict=False)]
                if finished:
                    log.info("%d training images are in finished shards of an earlier preparation", len(finished))
                progress.add(len(finished))
                self._pack(store, chain(finished, counted(workers.map(tasks["train"][len(finished) :]))))
        left_out = {"skipped": self.skipped, "leaks": self.leaks, "duplicates": self.duplicates, "left_out": self.left_out}
        made = Made(self.sources, self.lr_images, self.options, self.recipe, self.variants, self.test_inputs, self.results, left_out)
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
            self.results[done.task.number] = replace(done, fingerprint=None)
        references.join(validation)
        return references

    def _skip(self, done: Done) -> None:
        self._remove(done.task)
        self.skipped.append({"image": self.sources[done.task.number]["path"], "reason": done.bad})
        log.warning("skipped %s: %s", self.skipped[-1]["image"], done.bad)

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
        seen: dict[str, str] = {}
        for done in training:
            images: list[tuple[str, Packed]] = []
            if done.bad:
                self._skip(done)
            elif done.matches:
                self._leak(done, done.matches)
            elif done.pixels in seen:
                self.duplicates.append({"image": done.label, "of": seen[done.pixels]})
                log.warning("left out %s: a copy of %s", done.label, seen[done.pixels])
                self._remove(done.task)
            else:
                seen[done.pixels] = done.label
                images = [(done.label if factor == 1 else f"{done.label} (1/{factor})", one) for factor, one in done.packed.items()]
                self.results[done.task.number] = done
            store.add_group(images, done.note())
