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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from srgan.images.formats import suffixes
from srgan.images.read import Picture, open_picture
from srgan.images.suffixes import FORMATS
from srgan.inference.photo import Options, format_of, upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import final_name
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

READABLE = suffixes()
STREAM = "-"
NAMED = 3  # of the files that are left out for one reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A file to enlarge, and where the result goes."""

    source: Path
    target: Path


@dataclass
class LeftOut:
    """What a search passes over, by reason; a folder that cannot be read among it."""

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    folders: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Count and name it."""
        if self.files:
            reasons = "; ".join(
                f"{reason} {len(paths)} ({', '.join(path.name for path in paths[:NAMED])}{', ...' if len(paths) > NAMED else ''})"
                for reason, paths in sorted(self.files.items())
            )
            log.warning("%d files are left out: %s", sum(map(len, self.files.values())), reasons)
        for text in self.folders:
            log.warning("%s", text)


def plan(inputs: list[str], output: str, suffix: str | None = None) -> list[Job]:
    """Find out what is to be done, without doing it.

    A folder is searched with all that is in it, a pattern such as ``photos/**/*.jpg`` as a shell would. The results go into `output`, laid
    out as the photographs lie in the folder named, or in the part of the pattern before its first ``*``.

    Args:
        inputs: files, folders and patterns.
        output: a folder, which need not exist.
        suffix: of the results, such as ``.png``; None: each keeps its own, or gets ``.png`` if that format is not written.

    Raises:
        SrganError: an input is not there, nothing is found, the folder cannot be written to, two results would have one name, or a result
            that of a photograph.
    """
    folder = Path(output)
    if folder.is_file():
        raise SrganError(f"{output}: is a file; several results need a folder to go to")
    found: dict[Path, Path] = {}
    left_out = LeftOut()
    for name in inputs:
        for source, inside in _searched(name, folder, left_out):
            found.setdefault(source, inside)
    left_out.warn()
    photographs = {source.resolve() for source in found}
    if not found:
        raise SrganError(f"{', '.join(inputs)}: no images there; looked for {', '.join(READABLE)}")
    check_writable(folder)
    jobs: dict[Path, Job] = {}
    clashes: list[str] = []
    for source, inside in found.items():
        own = inside.suffix if inside.suffix.lower() in FORMATS else ".png"
        target = folder / inside.with_suffix(suffix or own)
        if target in jobs:
            clashes.append(f"{source} and {jobs[target].source} would both become {target}; enlarge them into two folders")
        elif target.resolve() in photographs:
            clashes.append(f"{target}: a result would take this photograph's place; choose another folder")
        else:
            jobs[target] = Job(source, target)
    if clashes:
        raise SrganError(clashes[0] if len(clashes) == 1 else "\n  ".join([f"{len(clashes)} results cannot be written:", *clashes]))
    return list(jobs.values())


def check_writable(folder: Path) -> None:
    """Find out whether files can be written to a folder, or to the one it would be made in.

    Raises:
        SrganError: they cannot.
    """
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SrganError(f"{place}: files cannot be written there ({error.strerror}); choose another folder") from error


def _searched(name: str, folder: Path, left_out: LeftOut) -> Iterator[tuple[Path, Path]]:
    """The images that an argument names, each with its place below what was named; none of a former run's results."""
    path = Path(name)
    if path.is_file():
        yield path, Path(path.name)
        return
    if path.is_dir():
        root, sources = path, _inside(path, folder, left_out)
    elif glob.has_magic(name):
        root = Path(*path.parts[: next(index for index, part in enumerate(path.parts) if glob.has_magic(part))])
        sources = root.glob(str(path.relative_to(root)))
    elif path.exists():
        raise SrganError(f"{name}: is a pipe or a device; one photograph from there goes to one file")
    else:
        raise SrganError(f"{name}: no such file or folder")
    results = folder.resolve()
    if results == root.resolve():
        raise SrganError(f"{folder}: holds the photographs; the results need a folder of their own")
    inside_root = results.is_relative_to(root.resolve())
    for source in sorted(sources):
        inside = source.relative_to(root)
        if not source.is_file() or (inside_root and source.resolve().is_relative_to(results)):
            continue
        suffix = source.suffix.lower()
        if any(part.startswith(".") for part in inside.parts):
            if suffix in READABLE:
                left_out.files["hidden"].append(inside)
        elif suffix in READABLE:
            yield source, inside
        else:
            left_out.files[suffix or "without suffix"].append(inside)


def _inside(folder: Path, results: Path, left_out: LeftOut) -> Iterator[Path]:
    """All files in a folder and its folders. Hidden and linked ones are not entered, and those that cannot be read are left out.

    Raises:
        SrganError: the folder itself cannot be read.
    """

    def unreadable(error: OSError) -> None:
        text = f"{error.filename}: the folder cannot be read ({error.strerror})"
        if Path(error.filename) == folder:
            raise SrganError(f"{text}; change its permissions") from error
        left_out.folders.append(f"{text}; it is left out")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out.folders += [
            f"{linked}: a linked folder is not entered; it is left out"
            for linked in (Path(place, name) for name in folders)
            if linked.is_symlink() and linked.resolve() != results.resolve()
        ]
        yield from (Path(place) / name for name in names)


def _spare(source: Path, target: Path) -> None:
    if target.is_file() and source.is_file() and target.samefile(source):
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
    failures: list[str] = []
    todo = [job for job in jobs if overwrite or not _is_done(job)]
    with Progress("upscale", len(jobs), "image") as progress, Workers(_decoded, processes=1) as workers:
        progress.add(len(jobs) - len(todo))
        for job, answer in zip(todo, workers.map(job.source for job in todo), strict=True):
            try:
                upscale_file(upscaler, job.source, job.target, options, picture=_picture(answer, str(job.source)))
            except Exception as error:  # one of thousands of files may provoke anything
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                told = final_name(f"{error.filename or job.source}: {error.strerror}") if isinstance(error, OSError) else None
                text = str(error) if isinstance(error, SrganError) else told or f"{type(error).__name__}: {error}"
                failures.append(text if str(job.source) in text or str(job.target) in text else f"{job.source}: {text}")
                log.debug("%s", failures[-1], exc_info=True)
            progress.add(1)
    skipped = len(jobs) - len(todo)
    there = f", {skipped} were there already (--overwrite makes them anew)" if skipped else ""
    log.info("%d of %d images enlarged%s", len(todo) - len(failures), len(jobs), there)
    return failures


def _is_done(job: Job) -> bool:
    return job.target.is_file() and job.source.exists() and job.target.stat().st_mtime >= job.source.stat().st_mtime


def _decoded(source: Path | io.BytesIO) -> Picture | SrganError:
    """Decode an image in a process of its own: a decoder that crashes or does not end costs this image alone."""
    with _large_images():
        try:
            return open_picture(source)
        except SrganError as error:
            return error


def _picture(answer: Picture | SrganError | Lost, name: str) -> Picture:
    """Return what `_decoded` answered, or raise what stopped it."""
    if isinstance(answer, Lost):
        raise SrganError(f"{name}: decoding it {answer.reason}; replace the file or take it out")
    if isinstance(answer, SrganError):
        raise answer
    return answer


def run_one(upscaler: Upscaler, source: str, output: str, options: Options, suffix: str = ".png") -> None:
    """Enlarge one photograph, showing how far it is.

    Args:
        upscaler: the model.
        source: a file, a pipe such as ``/dev/stdin``, or ``-`` for the standard input.
        output: a file whose suffix names the format, or ``-`` for the standard output.
        options: how the result is written.
        suffix: of the format on the standard output.
    """
    photograph: Path | io.BytesIO = Path(source)
    if output != STREAM:
        _spare(Path(source), Path(output))
        check_writable(Path(output).parent)
    if source == STREAM or not photograph.is_file():  # what cannot be sought in is read whole
        photograph = io.BytesIO(sys.stdin.buffer.read() if source == STREAM else photograph.read_bytes())
        photograph.name = "standard input" if source == STREAM else source  # type: ignore[attr-defined]  (for messages)
    start = time.monotonic()
    with Workers(_decoded, processes=1) as workers:
        (answer,) = workers.map([photograph])
    picture = _picture(answer, source if source != STREAM else "standard input")
    with ExitStack() as stack:
        bar: Progress | None = None

        def told(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(Progress("upscale", total, "tile"))
            bar.add(done - bar.done)

        target = Path(output)
        if output == STREAM:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"result{suffix}"
        width, height = upscale_file(upscaler, photograph, target, options, format_of(target), told, picture)
        if output == STREAM:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    name = "standard output" if output == STREAM else output
    log.info("%s: %d x %d pixels in %.1f s", name, width, height, time.monotonic() - start)
