"""`srgan upscale` of images at addresses of fsspec, such as buckets: they are fetched, upscaled and sent a few at a time."""

import logging
import posixpath
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from srgan.images.search import READABLE
from srgan.images.suffixes import FORMATS
from srgan.images.write import Options
from srgan.inference import batch
from srgan.inference.batch import Job
from srgan.inference.names import Named
from srgan.inference.upscaler import Upscaler
from srgan.tasks import task_of
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.file_systems import is_address, locate, reached
from srgan.utils.progress import Progress

GROUP = 8  # images at a time, so that few files are on the disk, and that a lost Ray actor has few to begin again

LOST = 2  # images of a group that cannot be reached mean that the connection is lost. One may be the fault of the image

log = logging.getLogger(__name__)


def plan(inputs: Sequence[str], output: str, suffix: str | None = None) -> dict[str, str]:
    """Return the images to upscale and their results, as paths or addresses of fsspec.

    Args:
        inputs: folders, files and patterns, or addresses of them such as ``s3://bucket/photos``.
        output: a folder or its address.
        suffix: of the results. By default each keeps its own, or gets ``.png`` if that format is not written.

    Raises:
        SrganError: no image is found, two results have one name, or the folder of the results holds the images.
        Unreachable: a bucket cannot be read.
    """
    if not any(map(is_address, (*inputs, output))):
        return {_full(str(job.source)): _full(str(job.target)) for job in batch.plan(list(inputs), output, suffix)}
    if posixpath.splitext(output)[1].lower() in FORMATS:
        raise SrganError(f"{output}: is the name of an image. Name a folder for the results, also for one image at an address")
    output = _full(output)
    sources: dict[str, str] = {}  # by their results
    for name in inputs:
        for source, inside in _listed(name, output):
            stem, own = posixpath.splitext(inside)
            target = posixpath.join(output, stem + (suffix or (own if own.lower() in FORMATS else ".png")))
            _enter(sources, source, target)
    if not sources:
        raise SrganError(f"{', '.join(inputs)}: no images found. The suffixes are {', '.join(READABLE)}")
    return {source: target for target, source in sources.items()}


def renamed(jobs: dict[str, str], names: Named) -> dict[str, str]:
    """Return the jobs with results of other names, in the same folders and formats.

    Raises:
        SrganError: two results have one name, or a result would replace an image.
    """
    sources: dict[str, str] = {}  # by their results
    for source, target in jobs.items():
        folder, own = posixpath.split(target)
        new = posixpath.join(folder, names.stem(Path(source)) + posixpath.splitext(own)[1])
        _enter(sources, source, new)
        if new in jobs:
            raise SrganError(f"{new}: a result would replace this image. Choose another folder")
    return {source: target for target, source in sources.items()}


def _enter(sources: dict[str, str], source: str, target: str) -> None:
    if sources.setdefault(target, source) != source:
        raise SrganError(f"{source} and {sources[target]} would both become {target}. Upscale them into two folders")


def _listed(name: str, output: str) -> list[tuple[str, str]]:
    """Return the images of a folder or a pattern, and their paths below it. Hidden ones and results are none."""
    system, root = locate(name)
    with reached(name):
        if any(mark in root for mark in "*?["):
            found, base = system.glob(root), posixpath.dirname(re.split(r"[*?[]", root)[0])
        else:
            found = system.find(root)
            base = posixpath.dirname(root) if found == [root] else root
        addresses = [(_address(system, path), posixpath.relpath(path, base)) for path in found]
    hidden, results = re.compile(r"(^|/)\."), output.rstrip("/") + "/"
    if f"{_address(system, base)}/".startswith(results):
        raise SrganError(f"{output}: holds the images. The results need a folder of their own")
    images = [(address, inside) for address, inside in addresses if inside.lower().endswith(tuple(READABLE))]
    return [(address, inside) for address, inside in images if not hidden.search(inside) and not address.startswith(results)]


def _full(address: str) -> str:
    """Return an address or a path in the form that listings have."""
    return _address(*locate(address))


def _address(system: Any, path: str) -> str:
    return path if "file" in system.protocol else str(system.unstrip_protocol(path))


def missing(jobs: dict[str, str], output: str) -> dict[str, str]:
    """Return the images without a result, and those that are newer than their result."""
    there = _changes(output)
    folders = {posixpath.dirname(source) for source, target in jobs.items() if target in there}
    changes = {path: changed for folder in folders for path, changed in _changes(folder).items()} if folders else {}
    return {source: target for source, target in jobs.items() if target not in there or changes.get(source, 0.0) > there[target]}


def _changes(folder: str) -> dict[str, float]:
    """Return the files below a folder, and when each was changed."""
    system, root = locate(folder)
    with reached(folder):
        found = system.find(root, detail=True) if system.exists(root) else {}
        return {_address(system, path): _changed(info) for path, info in found.items()}


def _changed(info: dict[str, Any]) -> float:
    changed = next((info[key] for key in ("mtime", "LastModified", "updated", "created") if info.get(key)), 0.0)
    return float(changed.timestamp() if hasattr(changed, "timestamp") else changed)


def run(upscaler: Upscaler, jobs: dict[str, str], output: str, options: Options, overwrite: bool = False) -> list[str]:
    """Upscale the images in this process. A bad file does not stop the others.

    Args:
        upscaler: the model.
        jobs: the result of `plan`.
        output: folder of the results.
        options: how the results are written.
        overwrite: write results again that exist already and are not older than their image.

    Returns:
        A message for each file that failed.

    Raises:
        Unreachable: the connection is lost. The same call continues.
    """
    todo = jobs if overwrite else missing(jobs, output)
    task, failures = task_of(upscaler.scale, upscaler.adds_colour), list[str]()
    with Progress(task.verb, len(jobs), "image") as progress:
        progress.add(len(jobs) - len(todo))
        pairs = list(todo.items())
        for first in range(0, len(pairs), GROUP):
            group = pairs[first : first + GROUP]
            errors = upscaled(upscaler, group, options)
            lost = [error for error in errors if isinstance(error, Unreachable)]
            if len(lost) >= min(LOST, len(group)):
                done = progress.done - len(failures) + errors.count(None)
                raise Unreachable(f"{lost[0]}. {done} of {len(jobs)} images are {task.done}. The same command continues")
            failures += [str(error) for error in errors if error]
            progress.add(len(group))
    log_result(task.done, len(jobs), len(todo), len(failures))
    return failures


def log_result(done: str, images: int, tried: int, failed: int) -> None:
    """Log how many images are upscaled."""
    skipped = images - tried
    there = f", {skipped} existed already (--overwrite writes them again)" if skipped else ""
    log.info("%d of %d images %s%s", tried - failed, images, done, there)


def upscaled(upscaler: Upscaler, jobs: Sequence[tuple[str, str]], options: Options) -> list[SrganError | None]:
    """Upscale a few images, and return the error of each, or None for one that is done.

    Args:
        upscaler: the model.
        jobs: source and target of each image.
        options: how the results are written.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(GROUP) as threads:
        places = [Path(folder, str(number)) for number in range(len(jobs))]
        found = list(threads.map(_fetched, jobs, places))
        errors = [error for _, error in found]
        local = [(number, job) for number, (job, error) in enumerate(found) if not error]
        with closing(batch.results(upscaler, [job for _, job in local], options)) as results:
            for place, (number, job) in enumerate(local):
                source, target = jobs[number]
                _, message = next(results)
                if message:
                    errors[number] = SrganError(message.replace(str(job.source), source).replace(str(job.target), target))
                elif is_address(target):
                    errors[number] = _sent(job.target, target)
                if isinstance(errors[number], Unreachable):  # each further image would wait for minutes
                    for other, _ in local[place + 1 :]:
                        errors[other] = errors[number]
                    break
        return errors


def _fetched(job: tuple[str, str], place: Path) -> tuple[Job, SrganError | None]:
    """Return the files of a job on this machine."""
    source, target = job
    local = Job(_local(source, place / "in"), _local(target, place / "out"))
    try:
        if is_address(source):
            fetch(source, local.source)
        return local, None
    except SrganError as error:
        return local, error


def _local(address: str, folder: Path) -> Path:
    """Return a path, or a file of the folder for an address."""
    return folder / posixpath.basename(address) if is_address(address) else Path(address)


def fetch(address: str, path: Path) -> None:
    """Download a file to a new folder.

    Raises:
        SrganError: there is none, or access is denied.
        Unreachable: the connection is lost.
    """
    path.parent.mkdir(parents=True)
    system, inside = locate(address)
    with reached(address):
        system.get_file(inside, str(path))


def _sent(path: Path, target: str) -> SrganError | None:
    try:
        system, inside = locate(target)
        with reached(target):
            system.put_file(str(path), inside)
    except SrganError as error:
        return error
    path.unlink()
    return None
