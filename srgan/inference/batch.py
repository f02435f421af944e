"""`srgan upscale`: from what the command names to the files it writes."""

import errno
import io
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from srgan.images.provenance import written_by
from srgan.images.read import DecodedImage, open_image
from srgan.images.search import MAX_NAMES, READABLE, check_writable, find_images
from srgan.images.suffixes import FORMATS
from srgan.images.write import Options, format_of
from srgan.inference.names import Named
from srgan.inference.pages import upscale_pages
from srgan.inference.photo import OnTile, upscale_file
from srgan.inference.scientific import DICOM_SUFFIXES, kept_kind, upscale_scientific
from srgan.inference.upscaler import Upscaler
from srgan.tasks import task_of
from srgan.utils.errors import SrganError
from srgan.utils.files import final_name
from srgan.utils.progress import Progress
from srgan.utils.workers import Lost, Workers

STREAM = "-"
DATE_SECONDS = 2  # precision of dates on memory cards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An image file and the file of its result."""

    source: Path
    target: Path


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
    if suffix:
        format_of(folder / f"result{suffix}")  # its encoder may be missing
    found = find_images(inputs, folder, (*READABLE, *DICOM_SUFFIXES))
    pairs = []
    for source, inside in found.items():
        own = inside.suffix if inside.suffix.lower() in (*FORMATS, *DICOM_SUFFIXES) else ".png"
        pairs.append((source, folder / inside.with_suffix(suffix or own)))
    return _without_clashes(pairs)


def renamed(jobs: list[Job], names: Named) -> list[Job]:
    """Return the jobs with results of other names, in the same folders and formats.

    Raises:
        SrganError: two results have one name, or a result would replace an image.
    """
    return _without_clashes([(job.source, job.target.with_name(names.stem(job.source) + job.target.suffix)) for job in jobs])


def _without_clashes(pairs: list[tuple[Path, Path]]) -> list[Job]:
    images = {source.resolve() for source, _ in pairs}
    jobs: dict[Path, Job] = {}
    clashes: list[str] = []
    for source, target in pairs:
        if target in jobs:
            clashes.append(f"{source} and {jobs[target].source} would both become {target}; upscale them into two folders")
        elif target.resolve() in images:
            clashes.append(f"{target}: a result would replace this image; choose another folder")
        else:
            jobs[target] = Job(source, target)
    if clashes:
        raise SrganError(clashes[0] if len(clashes) == 1 else "\n  ".join([f"{len(clashes)} results cannot be written:", *clashes]))
    return list(jobs.values())


def _refuse_to_replace(source: Path, target: Path) -> None:
    if target.is_file() and source.is_file() and target.samefile(source):
        raise SrganError(f"{target}: the result would replace the image. Choose another name or folder")


@contextmanager
def large_images() -> Iterator[None]:
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
    done = set() if overwrite else {job for job in jobs if _is_done(job, DATE_SECONDS if options.keep_dates else 0)}
    todo = [job for job in jobs if job not in done]
    task = task_of(upscaler.scale, upscaler.adds_colour)
    with Progress(task.verb, len(jobs), "image") as progress:
        progress.add(len(jobs) - len(todo))
        for _, failure in results(upscaler, todo, options):
            failures += [failure] if failure else []
            progress.add(1)
    skipped = len(jobs) - len(todo)
    there = f", {skipped} existed already (--overwrite writes them again)" if skipped else ""
    log.info("%d of %d images %s%s", len(todo) - len(failures), len(jobs), task.done, there)
    if others := [job.target.name for job in jobs if job in done and _differs(upscaler, job.target, options)]:
        some = ", ".join(others[:MAX_NAMES] + ["..."] * (len(others) > MAX_NAMES))
        log.warning("%d of them have another model or other settings (%s). Write them again with --overwrite", len(others), some)
    return failures


def results(upscaler: Upscaler, jobs: list[Job], options: Options) -> Generator[tuple[Job, str], None, None]:
    """Upscale images, and yield each with the message of its failure, which is empty for one that is done. A full disk stops all."""
    with Workers(_decoded_job, processes=1) as workers:
        for job, answer in zip(jobs, workers.map(jobs), strict=True):
            failure = ""
            try:
                if answer is None and (kind := kept_kind(job.source, job.target)):
                    upscale_scientific(kind, upscaler, job.source, job.target, options)
                else:
                    _upscaled(upscaler, job.source, job.target, options, _image(answer, str(job.source)))
            except Exception as error:  # any of thousands of files may raise anything
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                message = final_name(f"{error.filename or job.source}: {error.strerror}") if isinstance(error, OSError) else None
                text = str(error) if isinstance(error, SrganError) else message or f"{type(error).__name__}: {error}"
                failure = text if str(job.source) in text or str(job.target) in text else f"{job.source}: {text}"
                log.debug("%s", failure, exc_info=True)
            yield job, failure


def _is_done(job: Job, tolerance: float) -> bool:
    if not (job.target.is_file() and job.source.exists()):
        return False
    return job.target.stat().st_mtime + tolerance >= job.source.stat().st_mtime


def _differs(upscaler: Upscaler, target: Path, options: Options) -> bool:
    """Return whether the XMP of a result names another model or other settings. Results without these entries do not differ."""
    file_format = FORMATS.get(target.suffix.lower(), "")
    with suppress(OSError):
        written = written_by(target)
        return written is not None and written != (upscaler.sha256, options.described(upscaler.scale, file_format, upscaler.refinement))
    return False


def _decoded_job(job: Job) -> DecodedImage | SrganError | None:
    """Return the result of `_decoded`, or None for a file that keeps its kind. GDAL and pydicom read it while it is upscaled."""
    try:
        return None if kept_kind(job.source, job.target) else _decoded(job.source)
    except SrganError as error:
        return error


def _decoded(source: Path | io.BytesIO, page: int = 0) -> DecodedImage | SrganError:
    """Decode an image in a process of its own. A decoder that crashes or hangs fails this image alone."""
    with large_images():
        try:
            return open_image(source, page)
        except SrganError as error:
            return error


def _image(answer: DecodedImage | SrganError | Lost | None, name: str) -> DecodedImage:
    """Return the result of `_decoded`, or raise its error."""
    if isinstance(answer, Lost):
        raise SrganError(f"{name}: decoding it {answer.reason}. Replace or remove the file")
    if isinstance(answer, SrganError):
        raise answer
    assert answer is not None
    return answer


def _upscaled(
    upscaler: Upscaler,
    source: Path | io.BytesIO,
    target: Path,
    options: Options,
    decoded: DecodedImage,
    on_tile: OnTile = lambda done, total: None,
    hints: str | None = None,
) -> tuple[int, int]:
    """Upscale an image, or all pages if source and target are TIFF files. The other pages are decoded in a process, too."""
    if len(decoded.pages) == 1 or format_of(target) != "tiff" or hints:
        return upscale_file(upscaler, source, target, options, None, on_tile, decoded, hints)
    with Workers(_decoded_page, processes=1) as workers:
        answers = workers.map((source, page) for page in decoded.pages[1:])
        return upscale_pages(upscaler, source, target, options, on_tile, decoded, (_image(answer, decoded.name) for answer in answers))


def _decoded_page(item: tuple[Path | io.BytesIO, int]) -> DecodedImage | SrganError:
    return _decoded(*item)


def beside(upscaler: Upscaler, names: Named, source: Path, options: Options, suffix: str = ".png", overwrite: bool = False) -> Path:
    """Return the file next to an image that gets its result: ``photo_x4.png``, or ``photo_restored.png`` at scale 1.

    Args:
        upscaler: the model.
        names: the names of results.
        source: the image.
        options: how the result is written.
        suffix: of the result.
        overwrite: allow a file that exists.

    Raises:
        SrganError: the file exists.
    """
    target = source.with_name(names.stem(source) + suffix)
    if target.exists() and not overwrite:
        other = ", made with another model or other settings" if _differs(upscaler, target, options) else ""
        raise SrganError(f"{target}: exists already{other}. Replace it with --overwrite, or name another file with -o")
    return target


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
    kind = kept_kind(Path(source), Path(output)) if output != STREAM and isinstance(image, Path) else None
    if kind and hints:
        raise SrganError(f"{source}: --hints fits a photograph. Leave it out")
    decoded = None
    if not kind:
        with Workers(_decoded, processes=1) as workers:
            (answer,) = workers.map([image])
        decoded = _image(answer, name)
    with ExitStack() as stack:
        bar: Progress | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(Progress(task_of(upscaler.scale, upscaler.adds_colour).verb, total, "tile"))
            bar.add(done - bar.done)

        target = Path(output)
        if output == STREAM:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"result{suffix}"
        if kind:
            width, height = upscale_scientific(kind, upscaler, Path(source), target, options, show)
        else:
            assert decoded is not None
            width, height = _upscaled(upscaler, image, target, options, decoded, show, hints)
        if output == STREAM:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    log.info("%s: %d x %d pixels in %.1f s", "standard output" if output == STREAM else output, width, height, time.monotonic() - start)
