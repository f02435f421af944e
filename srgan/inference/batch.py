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
from srgan.images.read import DecodedImage, open_image
from srgan.images.suffixes import FORMATS
from srgan.images.write import Options, format_of
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.utils.files import final_name
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

READABLE = suffixes()
STREAM = "-"
MAX_NAMES = 3  # files of one reason in a warning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An image file and the file of its result."""

    source: Path
    target: Path


@dataclass
class LeftOut:
    """The files that a search does not use, by reason, and the folders that it does not enter."""

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    folders: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Log their number and some names."""
        if self.files:
            reasons = "; ".join(
                f"{reason} {len(paths)} ({', '.join([path.name for path in paths[:MAX_NAMES]] + ['...'] * (len(paths) > MAX_NAMES))})"
                for reason, paths in sorted(self.files.items())
            )
            log.warning("%d files are left out: %s", sum(map(len, self.files.values())), reasons)
        for text in self.folders:
            log.warning("%s", text)


def plan(inputs: list[str], output: str, suffix: str | None = None) -> list[Job]:
    """Return the images to upscale and the files of their results.

    A folder is searched with its subfolders. A pattern such as ``photos/**/*.jpg`` is expanded as in a shell. The results keep the
    folder structure below the named folder, or below the part of a pattern before its first ``*``.

    Args:
        inputs: files, folders and patterns.
        output: a folder, which need not exist.
        suffix: suffix of the results, such as ``.png``. By default each keeps its own, or gets ``.png`` if that format is not written.

    Raises:
        SrganError: an input is missing, no image is found, the folder is not writable, two results have one name, or a result would
            replace an image.
    """
    folder = Path(output)
    if folder.is_file():
        raise SrganError(f"{output}: is a file. Several results need a folder")
    found: dict[Path, Path] = {}
    left_out = LeftOut()
    for name in inputs:
        for source, inside in _searched(name, folder, left_out):
            found.setdefault(source, inside)
    left_out.warn()
    images = {source.resolve() for source in found}
    if not found:
        raise SrganError(f"{', '.join(inputs)}: no images found. The suffixes are {', '.join(READABLE)}")
    check_writable(folder)
    jobs: dict[Path, Job] = {}
    clashes: list[str] = []
    for source, inside in found.items():
        own = inside.suffix if inside.suffix.lower() in FORMATS else ".png"
        target = folder / inside.with_suffix(suffix or own)
        if target in jobs:
            clashes.append(f"{source} and {jobs[target].source} would both become {target}; upscale them into two folders")
        elif target.resolve() in images:
            clashes.append(f"{target}: a result would replace this image; choose another folder")
        else:
            jobs[target] = Job(source, target)
    if clashes:
        raise SrganError(clashes[0] if len(clashes) == 1 else "\n  ".join([f"{len(clashes)} results cannot be written:", *clashes]))
    return list(jobs.values())


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, or to the folder that it would be created in.

    Raises:
        SrganError: they cannot.
    """
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SrganError(f"{place}: files cannot be written there ({error.strerror}). Choose another folder") from error


def _searched(name: str, folder: Path, left_out: LeftOut) -> Iterator[tuple[Path, Path]]:
    """Yield the images that an argument names, with their path below the named folder. Results of a former run are left out."""
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
        raise SrganError(f"{name}: is a pipe or a device. One image from there goes to one file")
    else:
        raise SrganError(f"{name}: no such file or folder")
    results = folder.resolve()
    if results == root.resolve():
        raise SrganError(f"{folder}: holds the images. The results need a folder of their own")
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
    """Yield all files in a folder and its subfolders. Hidden, linked and unreadable subfolders are left out.

    Raises:
        SrganError: the folder itself cannot be read.
    """

    def unreadable(error: OSError) -> None:
        text = f"{error.filename}: the folder cannot be read ({error.strerror})"
        if Path(error.filename) == folder:
            raise SrganError(f"{text}. Change its permissions") from error
        left_out.folders.append(f"{text}. It is left out")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out.folders += [
            f"{linked}: a linked folder is not entered. It is left out"
            for linked in (Path(place, name) for name in folders)
            if linked.is_symlink() and linked.resolve() != results.resolve()
        ]
        yield from (Path(place) / name for name in names)


def _refuse_to_replace(source: Path, target: Path) -> None:
    if target.is_file() and source.is_file() and target.samefile(source):
        raise SrganError(f"{target}: the result would replace the image. Choose another name or folder")


@contextmanager
def _large_images() -> Iterator[None]:
    """Lift Pillow's limit, which protects servers. `open_image` refuses images that exceed the memory."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def run(upscaler: Upscaler, jobs: list[Job], options: Options, overwrite: bool = False) -> list[str]:
    """Upscale the images. A bad file does not stop the others, a full disk stops all.

    Args:
        upscaler: the model.
        jobs: the result of `plan`.
        options: how the results are written.
        overwrite: write results again that exist already and are not older than their image.

    Returns:
        A message for each file that failed.
    """
    failures: list[str] = []
    todo = [job for job in jobs if overwrite or not _is_done(job)]
    with Progress("upscale", len(jobs), "image") as progress, Workers(_decoded, processes=1) as workers:
        progress.add(len(jobs) - len(todo))
        for job, answer in zip(todo, workers.map(job.source for job in todo), strict=True):
            try:
                upscale_file(upscaler, job.source, job.target, options, decoded=_image(answer, str(job.source)))
            except Exception as error:  # any of thousands of files may raise anything
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                message = final_name(f"{error.filename or job.source}: {error.strerror}") if isinstance(error, OSError) else None
                text = str(error) if isinstance(error, SrganError) else message or f"{type(error).__name__}: {error}"
                failures.append(text if str(job.source) in text or str(job.target) in text else f"{job.source}: {text}")
                log.debug("%s", failures[-1], exc_info=True)
            progress.add(1)
    skipped = len(jobs) - len(todo)
    there = f", {skipped} existed already (--overwrite writes them again)" if skipped else ""
    log.info("%d of %d images upscaled%s", len(todo) - len(failures), len(jobs), there)
    return failures


def _is_done(job: Job) -> bool:
    return job.target.is_file() and job.source.exists() and job.target.stat().st_mtime >= job.source.stat().st_mtime


def _decoded(source: Path | io.BytesIO) -> DecodedImage | SrganError:
    """Decode an image in a process of its own. A decoder that crashes or hangs fails this image alone."""
    with _large_images():
        try:
            return open_image(source)
        except SrganError as error:
            return error


def _image(answer: DecodedImage | SrganError | Lost, name: str) -> DecodedImage:
    """Return the result of `_decoded`, or raise its error."""
    if isinstance(answer, Lost):
        raise SrganError(f"{name}: decoding it {answer.reason}. Replace or remove the file")
    if isinstance(answer, SrganError):
        raise answer
    return answer


def run_one(upscaler: Upscaler, source: str, output: str, options: Options, suffix: str = ".png", hints: str | None = None) -> None:
    """Upscale one image with a progress bar.

    Args:
        upscaler: the model.
        source: a file, a pipe such as ``/dev/stdin``, or ``-`` for the standard input.
        output: a file whose suffix names the format, or ``-`` for the standard output.
        options: how the result is written.
        suffix: suffix of the format on the standard output.
        hints: file of colour hints, see `upscale_file`.
    """
    name = "standard input" if source == STREAM else source
    image: Path | io.BytesIO = Path(source)
    if output != STREAM:
        _refuse_to_replace(Path(source), Path(output))
        check_writable(Path(output).parent)
    if source == STREAM or not Path(source).is_file():  # a stream cannot seek
        image = io.BytesIO(sys.stdin.buffer.read() if source == STREAM else Path(source).read_bytes())
        image.name = name  # type: ignore[attr-defined]
    start = time.monotonic()
    with Workers(_decoded, processes=1) as workers:
        (answer,) = workers.map([image])
    decoded = _image(answer, name)
    with ExitStack() as stack:
        bar: Progress | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(Progress("upscale", total, "tile"))
            bar.add(done - bar.done)

        target = Path(output)
        if output == STREAM:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"result{suffix}"
        width, height = upscale_file(upscaler, image, target, options, format_of(target), show, decoded, hints)
        if output == STREAM:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    log.info("%s: %d x %d pixels in %.1f s", "standard output" if output == STREAM else output, width, height, time.monotonic() - start)
