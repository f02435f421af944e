"""`srgan upscale --engine ray`: folders and buckets by actors of Ray Data, on one machine or a cluster.

Each actor has the model, and takes a few images at a time. Ray Data gives an actor new images when it has room for them, starts a lost
actor again and gives its images to another. An image whose result exists is skipped, so a stopped run continues.
"""

import json
import logging
import posixpath
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import ray
import ray.data
from ray.exceptions import RayError

from srgan.images.search import READABLE
from srgan.images.suffixes import FORMATS
from srgan.images.write import Options
from srgan.inference import batch
from srgan.inference.batch import Job
from srgan.inference.refine import Refinement
from srgan.inference.upscaler import Upscaler
from srgan.starters import catalogue
from srgan.tasks import task_of
from srgan.utils import machine
from srgan.utils.errors import SrganError, Unreachable, reason
from srgan.utils.progress import Progress

STARTS = 3  # attempts
GROUP = 8  # images that an actor takes at a time, and that a lost actor has to begin again
RECORD = ".upscaled"  # folder of the manifest, next to the results
RECORD_IMAGES, RECORD_SECONDS = 1000, 30.0  # of a file of the manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How an actor uses the model, see `srgan.inference.upscaler.Upscaler`."""

    provider: str
    strict: bool
    tile: int | None
    options: Options
    refine: Refinement = field(default_factory=Refinement)


@dataclass(frozen=True)
class Cluster:
    """Where the actors run.

    Attributes:
        actors: their number. 0 is one for each GPU, or one for each core without GPUs.
        address: of a Ray cluster, such as ``auto``. Empty starts Ray on this machine, or uses ``RAY_ADDRESS``.
    """

    actors: int = 0
    address: str = ""


# -- images and results at any address --------------------------------------------------------------------------------------


def _is_remote(address: str) -> bool:
    return "://" in address


def plan(inputs: Sequence[str], output: str, suffix: str | None = None) -> dict[str, str]:
    """Return the images to upscale and their results, as paths or addresses of fsspec.

    Args:
        inputs: folders, files and patterns, or addresses of them such as ``s3://bucket/photos``.
        output: a folder or its address.
        suffix: of the results. By default each keeps its own, or gets ``.png`` if that format is not written.

    Raises:
        SrganError: no image is found, or two results have one name.
        Unreachable: a bucket cannot be read.
    """
    if not any(map(_is_remote, (*inputs, output))):
        return {_full(str(job.source)): _full(str(job.target)) for job in batch.plan(list(inputs), output, suffix)}
    output = _full(output)
    jobs: dict[str, str] = {}
    sources: dict[str, str] = {}  # by their results
    for name in inputs:
        for source, inside in _listed(name, output):
            stem, own = posixpath.splitext(inside)
            target = posixpath.join(output, stem + (suffix or (own if own.lower() in FORMATS else ".png")))
            if sources.setdefault(target, source) != source:
                raise SrganError(f"{source} and {sources[target]} would both become {target}; upscale them into two folders")
            jobs[source] = target
    if not jobs:
        raise SrganError(f"{', '.join(inputs)}: no images found. The suffixes are {', '.join(READABLE)}")
    return jobs


def _listed(name: str, output: str) -> list[tuple[str, str]]:
    """Return the images of a folder or a pattern, and their paths below it. Hidden ones and results are none."""
    with _reached(name):
        system, root = fsspec.core.url_to_fs(name)
        if any(mark in root for mark in "*?["):
            found, base = system.glob(root), posixpath.dirname(re.split(r"[*?[]", root)[0])
        else:
            found = system.find(root)
            base = posixpath.dirname(root) if found == [root] else root
        addresses = [(_address(system, path), posixpath.relpath(path, base)) for path in found]
        hidden, results = re.compile(r"(^|/)\."), output.rstrip("/") + "/"
        images = [(address, inside) for address, inside in addresses if inside.lower().endswith(tuple(READABLE))]
        return [(address, inside) for address, inside in images if not hidden.search(inside) and not address.startswith(results)]


def _full(address: str) -> str:
    """Return an address or a path in the form that listings have."""
    with _reached(address):
        return _address(*fsspec.core.url_to_fs(address))


def _address(system: Any, path: str) -> str:
    return path if "file" in system.protocol else str(system.unstrip_protocol(path))


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Name the address in an error of its file system."""
    try:
        yield
    except SrganError:
        raise
    except FileNotFoundError as error:
        raise SrganError(f"{address}: no such file or folder") from error
    except (ImportError, ValueError) as error:  # a package that is not installed, or an unknown protocol
        raise SrganError(f"{address}: {error}") from error
    except Exception as error:  # file systems of fsspec raise their own
        raise Unreachable(f"{address} cannot be reached: {error or type(error).__name__}") from error


def _changes(folder: str) -> dict[str, float]:
    """Return the files below a folder, and when each was changed."""
    with _reached(folder):
        system, root = fsspec.core.url_to_fs(folder)
        found = system.find(root, detail=True) if system.exists(root) else {}
        return {_address(system, path): _changed(info) for path, info in found.items()}


def _changed(info: dict[str, Any]) -> float:
    changed = next((info[key] for key in ("mtime", "LastModified", "updated", "created") if info.get(key)), 0.0)
    return float(changed.timestamp() if hasattr(changed, "timestamp") else changed)


def missing(jobs: dict[str, str], output: str) -> dict[str, str]:
    """Return the images without a result, and those that are newer than their result."""
    there = _changes(output)
    folders = {posixpath.dirname(source) for source, target in jobs.items() if target in there}
    changes = {path: changed for folder in folders for path, changed in _changes(folder).items()} if folders else {}
    return {source: target for source, target in jobs.items() if target not in there or changes.get(source, 0.0) > there[target]}


# -- in an actor --------------------------------------------------------------------------------------------------------------


class _Actor:
    def __init__(self, name: str, model: Any, settings: Settings, threads: int) -> None:
        machine.keep_freed_memory()
        self.settings = settings
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / name
        path.write_bytes(ray.get(model))  # another machine may not have the file
        self.upscaler = Upscaler(path, settings.provider, settings.strict, settings.tile, threads, settings.refine)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        sources, targets = list(map(str, rows["source"])), list(map(str, rows["target"]))
        return {"source": sources, "target": targets, "error": self._upscaled(list(zip(sources, targets, strict=True)))}

    def _upscaled(self, jobs: list[tuple[str, str]]) -> list[str]:
        """Upscale images and return the message of each. It is empty for one that is done."""
        errors = [""] * len(jobs)
        with tempfile.TemporaryDirectory() as name:
            local: list[tuple[int, Job]] = []
            for number, (source, target) in enumerate(jobs):
                places = Path(name) / f"{number}-in", Path(name) / f"{number}-out"
                try:
                    local.append((number, Job(_downloaded(source, places[0]), _local(target, places[1]))))
                except SrganError as error:
                    errors[number] = str(error)
            results = batch.results(self.upscaler, [job for _, job in local], self.settings.options)
            for (number, job), (_, message) in zip(local, results, strict=True):
                errors[number] = message.replace(str(job.source), jobs[number][0]).replace(str(job.target), jobs[number][1])
                if not message and _is_remote(jobs[number][1]):
                    errors[number] = _uploaded(job.target, jobs[number][1])
        return errors


def _local(address: str, folder: Path) -> Path:
    """Return a path, or a file of the folder for an address."""
    return folder / posixpath.basename(address) if _is_remote(address) else Path(address)


def _downloaded(source: str, folder: Path) -> Path:
    path = _local(source, folder)
    if _is_remote(source):
        folder.mkdir()
        with _reached(source):
            system, inside = fsspec.core.url_to_fs(source)
            system.get_file(inside, str(path))
    return path


def _uploaded(path: Path, target: str) -> str:
    try:
        with _reached(target):
            system, inside = fsspec.core.url_to_fs(target)
            system.put_file(str(path), inside)
    except SrganError as error:
        return str(error)
    path.unlink()
    return ""


# -- all images -----------------------------------------------------------------------------------------------------------------


def run(
    model: str | Path, settings: Settings, jobs: dict[str, str], output: str, overwrite: bool = False, cluster: Cluster = Cluster()
) -> list[str]:
    """Upscale the images. A bad file does not stop the others.

    Args:
        model: the file, or the name of a starter.
        settings: the same of each actor.
        jobs: the result of `plan`.
        output: folder of the results.
        overwrite: write results again that exist already and are not older than their image.
        cluster: where the actors run.

    Returns:
        A message for each file that failed.

    Raises:
        SrganError: Ray does not start, or the model does not load.
    """
    todo = jobs if overwrite else missing(jobs, output)
    # Here, because a model that does not load is an error of the command.
    upscaler = Upscaler(
        model, settings.provider, settings.strict, settings.tile, refine=settings.refine
    )  # a model that does not load is an error here
    settings.refine.check(upscaler, clip=False)
    task, path, failures = task_of(upscaler.scale, upscaler.adds_colour), upscaler.path, list[str]()
    log.info("%s by %s on %s", task.short(upscaler.scale), catalogue.described(path), upscaler.provider)
    on_gpu = not upscaler.provider.startswith("CPU")
    del upscaler  # the actors need its memory
    with Progress(task.verb, len(jobs), "image") as progress:
        progress.add(len(jobs) - len(todo))
        with _ray(cluster.address), _Record(output) as record:
            for row in _rows(path, settings, todo, cluster.actors, on_gpu) if todo else ():
                record.add(row)
                if row["error"]:
                    failures.append(row["error"])
                progress.add(1)
    skipped = len(jobs) - len(todo)
    there = f", {skipped} existed already (--overwrite writes them again)" if skipped else ""
    log.info("%d of %d images %s%s", len(todo) - len(failures), len(jobs), task.done, there)
    return failures


@contextmanager
def _ray(address: str) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine and stop it after the block. A program may have connected before."""
    if started := not ray.is_initialized():
        _start(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # plans of the execution, and the advice to turn its own progress bars on
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    except RayError as error:
        raise SrganError(f"the actors failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if started:
            ray.shutdown()


def _start(address: str) -> None:
    own: dict[str, Any] = {} if address else {"num_cpus": machine.cores(), "include_dashboard": False}
    for left in reversed(range(STARTS)):
        try:
            ray.init(address or None, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **own)
            return
        except Exception as error:  # also a plain one, if Ray does not start within its 30 s, as on a busy machine
            ray.shutdown()
            if not left:
                raise Unreachable(f"Ray does not {f'answer at {address}' if address else 'start'}: {reason(error)}") from error


def _rows(model: Path, settings: Settings, jobs: dict[str, str], actors: int, on_gpu: bool) -> Iterator[dict[str, str]]:
    """Yield `source`, `target` and `error` of each image when it is done."""
    resources = ray.cluster_resources()
    cores, gpus = max(int(resources.get("CPU", 1)), 1), int(resources.get("GPU", 0)) if on_gpu else 0
    actors = max(min(actors or gpus or cores, -(-len(jobs) // GROUP)), 1)
    threads = max(cores // actors, 1)
    log.info("actors: %d, with %s each", actors, f"{gpus / actors:g} GPUs" if gpus else f"{threads} cores")
    rows = [{"source": source, "target": target} for source, target in jobs.items()]
    images = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // GROUP))
    done = images.map_batches(
        _Actor,
        fn_constructor_args=(model.name, ray.put(model.read_bytes()), settings, threads),
        batch_size=GROUP,
        compute=ray.data.ActorPoolStrategy(size=actors),
        **({"num_gpus": gpus / actors} if gpus else {"num_cpus": threads}),
    )
    yield from done.iter_rows()


class _Record:
    """The manifest: files of JSON lines with `source`, `target` and `error` of each image, in the order in which they were done."""

    def __init__(self, output: str) -> None:
        self._folder, self._rows, self._written = posixpath.join(output, RECORD), list[dict[str, str]](), time.monotonic()
        self._name, self._number = time.strftime("%Y%m%d-%H%M%S", time.gmtime()), 0

    def __enter__(self) -> "_Record":
        return self

    def add(self, row: dict[str, str]) -> None:
        self._rows.append(row)
        if len(self._rows) >= RECORD_IMAGES or time.monotonic() - self._written > RECORD_SECONDS:
            self._write()

    def _write(self) -> None:
        path = posixpath.join(self._folder, f"{self._name}-{self._number:05}.jsonl")
        with _reached(path):
            system, inside = fsspec.core.url_to_fs(path)
            system.makedirs(posixpath.dirname(inside), exist_ok=True)
            system.pipe_file(inside, "".join(json.dumps(row) + "\n" for row in self._rows).encode())
        self._rows, self._written, self._number = [], time.monotonic(), self._number + 1

    def __exit__(self, *_: object) -> None:
        if self._rows:
            self._write()
