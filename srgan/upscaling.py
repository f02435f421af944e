"""`srgan upscale`: from what the command names to the files it writes."""

import errno
import glob
import io
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from srgan.data.images import SUFFIXES
from srgan.errors import SrganError
from srgan.inference import Upscaler
from srgan.photographs import FORMATS, Options, format_of, upscale_file
from srgan.progress import Progress

READABLE = (*SUFFIXES, ".avif", ".gif")
STREAM = "-"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A file to enlarge, and where the result goes."""

    source: Path
    target: Path


def plan(inputs: list[str], output: str, suffix: str | None = None) -> list[Job]:
    """Find out what is to be done, without doing it.

    A folder is searched with all that is in it, a pattern such as ``photos/**/*.jpg`` as a shell would. The results go into `output`, laid
    out as the photographs lie in the folder named, or in the part of the pattern before its first ``*``.

    Args:
        inputs: files, folders and patterns.
        output: a folder, which need not exist.
        suffix: of the results, such as ``.png``; None: each keeps its own, or gets ``.png`` if that format is not written.

    Raises:
        SrganError: an input is not there, nothing is found, two results would have one name, or a result that of a photograph.
    """
    folder = Path(output)
    if folder.is_file():
        raise SrganError(f"{output}: is a file; several results need a folder to go to")
    found: dict[Path, Path] = {}
    for name in inputs:
        for source, inside in _searched(name, folder):
            found.setdefault(source, inside)
    photographs = {source.resolve() for source in found}
    if not found:
        raise SrganError(f"{', '.join(inputs)}: no images there; looked for {', '.join(READABLE)}")
    jobs: dict[Path, Job] = {}
    for source, inside in found.items():
        own = inside.suffix if inside.suffix.lower() in FORMATS else ".png"
        target = folder / inside.with_suffix(suffix or own)
        if target in jobs:
            raise SrganError(f"{source} and {jobs[target].source} would both become {target}; enlarge them into two folders")
        if target.resolve() in photographs:
            raise SrganError(f"{target}: a result would take this photograph's place; choose another folder")
        jobs[target] = Job(source, target)
    return list(jobs.values())


def _searched(name: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """The images that an argument names, each with its place below what was named; none of a former run's results."""
    path = Path(name)
    if path.is_file():
        yield path, Path(path.name)
        return
    if path.is_dir():
        root, sources = path, _inside(path)
    elif glob.has_magic(name):
        root = Path(*path.parts[: next(index for index, part in enumerate(path.parts) if glob.has_magic(part))])
        sources = root.glob(str(path.relative_to(root)))
    else:
        raise SrganError(f"{name}: no such file or folder")
    results = folder.resolve()
    if results == root.resolve():
        raise SrganError(f"{folder}: holds the photographs; the results need a folder of their own")
    inside_root = results.is_relative_to(root.resolve())
    for source in sorted(sources):
        inside = source.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        own = inside_root and source.resolve().is_relative_to(results)
        if source.suffix.lower() in READABLE and not hidden and not own and source.is_file():
            yield source, inside


def _inside(folder: Path) -> Iterator[Path]:
    """All files in a folder and its folders; linked ones are not entered."""

    def unreadable(error: OSError) -> None:
        raise SrganError(f"{error.filename}: {error.strerror}; mend its permissions, or take it out") from error

    for place, _, names in os.walk(folder, onerror=unreadable):
        yield from (Path(place) / name for name in names)


def _spare(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        raise SrganError(f"{target}: the result would take the photograph's place; choose another name or folder")


@contextmanager
def _large_images() -> Iterator[None]:
    """Without Pillow's limit, which is for servers that strangers send images to: `open_picture` refuses what memory does not hold."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def run(upscaler: Upscaler, jobs: list[Job], options: Options, overwrite: bool = False) -> list[str]:
    """Do the jobs. A bad file stops nothing but itself; a full disk stops everything.

    Args:
        upscaler: the model.
        jobs: of `plan`.
        options: how the results are written.
        overwrite: write anew what is there already and no older than its photograph.

    Returns:
        What went wrong, a line for each file that failed.
    """
    failures, skipped = [], 0
    with Progress("upscale", len(jobs), "image") as progress, _large_images():
        for job in jobs:
            try:
                if not overwrite and job.target.is_file() and job.target.stat().st_mtime >= job.source.stat().st_mtime:
                    skipped += 1
                else:
                    upscale_file(upscaler, job.source, job.target, options)
            except Exception as error:  # one of thousands of files may provoke anything
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                told = f"{error.filename or job.source}: {error.strerror}" if isinstance(error, OSError) else None
                text = str(error) if isinstance(error, SrganError) else told or f"{type(error).__name__}: {error}"
                failures.append(text if str(job.source) in text or str(job.target) in text else f"{job.source}: {text}")
                log.debug("%s", failures[-1], exc_info=True)
            progress.add(1)
    done = len(jobs) - skipped - len(failures)
    there = f", {skipped} were there already (--overwrite makes them anew)" if skipped else ""
    log.info("%d of %d images enlarged%s", done, len(jobs), there)
    return failures


def run_one(upscaler: Upscaler, source: str, output: str, options: Options, suffix: str = ".png") -> None:
    """Enlarge one photograph, showing how far it is.

    Args:
        upscaler: the model.
        source: a file, or ``-`` for the standard input.
        output: a file whose suffix names the format, or ``-`` for the standard output.
        options: how the result is written.
        suffix: of the format on the standard output.
    """
    photograph: Path | io.BytesIO = Path(source)
    if source == STREAM:
        photograph = io.BytesIO(sys.stdin.buffer.read())
        photograph.name = "standard input"  # type: ignore[attr-defined]  (for messages)
    elif output != STREAM:
        _spare(Path(source), Path(output))
    start = time.monotonic()
    with ExitStack() as stack, _large_images():
        bar: Progress | None = None

        def told(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(Progress("upscale", total, "tile"))
            bar.add(done - bar.done)

        target = Path(output)
        if output == STREAM:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"result{suffix}"
        width, height = upscale_file(upscaler, photograph, target, options, format_of(target), told)
        if output == STREAM:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    name = "standard output" if output == STREAM else output
    log.info("%s: %d x %d pixels in %.1f s", name, width, height, time.monotonic() - start)
