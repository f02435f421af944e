"""Upscale the image of one request: decode it in a process of its own, then run the model and encode the result."""

import contextlib
import functools
import io
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from PIL import Image

from srgan.images.read import DecodedImage, open_image, peek
from srgan.images.suffixes import FORMATS, SUFFIXES_BY_FORMAT
from srgan.images.write import Options, check_size
from srgan.inference.batch import large_images
from srgan.inference.photo import upscale_file
from srgan.inference.scientific import Kind, kind_of
from srgan.inference.upscaler import ModelFailed
from srgan.service.limits import Refused, megapixels
from srgan.service.model import Loaded
from srgan.utils.errors import SrganError
from srgan.utils.workers import Lost, Workers

MEDIA_TYPES = {file_format: f"image/{file_format}" for file_format in FORMATS.values()}
OUR_FAULT = "the image could not be processed, and the log of the service has the reason. Tell its operator"
NOT_KEPT: dict[Kind, str] = {
    "geotiff": "the image is a GeoTIFF, whose georeference this service does not keep. Use srgan upscale, or ask for a format such as png",
    "dicom": "the image is a DICOM file, which this service does not take. Use srgan upscale",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """The wishes of a client.

    Attributes:
        source: file of the image.
        options: how the result is written.
        suffix: of the result, such as ``.png``. None keeps the format of the image.
        pixels: limit of the image.
    """

    source: Path
    options: Options
    suffix: str | None
    pixels: int


@dataclass(frozen=True)
class Result:
    """A finished image.

    Attributes:
        path: its file.
        media_type: such as ``image/png``.
        size: width and height.
        warnings: what the result does not hold.
        model: that made it.
        source_size: width and height of the image.
    """

    path: Path
    media_type: str
    size: tuple[int, int]
    warnings: list[str]
    model: Loaded
    source_size: tuple[int, int]


class Cancelled(Exception):
    """The client has gone, so that the result is not needed."""


@dataclass
class Stop:
    """When the work on an image has to end. Threads may share one.

    Attributes:
        seconds: the time.
        end: value of `time.monotonic` when it is over. None counts from the beginning of the work.
    """

    seconds: float
    end: float | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End the work at the next tile."""
        self._cancelled.set()

    @property
    def passed(self) -> float:
        """Seconds since the request came or the job began."""
        return 0.0 if self.end is None else time.monotonic() - self.end + self.seconds

    def half(self) -> "Stop":
        """Return a stop at half of the time that is left. It is cancelled with this one."""
        now = time.monotonic()
        left = self.seconds if self.end is None else self.end - now
        return Stop(left / 2, now + left / 2, self._cancelled)

    def begin(self) -> None:
        """Begin the work.

        Raises:
            Cancelled: the client has gone.
            Refused: the time is over.
        """
        if self._is_over():
            seconds = math.ceil(self.seconds)
            raise Refused(429, f"the image waited {self.seconds:g} s for others. Try again in {seconds} s", seconds)
        self.end = self.end or time.monotonic() + self.seconds

    def check(self, done: int, total: int) -> None:
        """Check after each of the tiles whether the work has to end.

        Raises:
            Cancelled: the client has gone.
            Refused: the time is over.
        """
        if self._is_over():
            progress = f"{done} of {total} tiles are done"
            raise Refused(413, f"the image takes longer than {self.seconds:g} s ({progress}). Send a smaller image, or a job (POST /jobs)")

    def _is_over(self) -> bool:
        if self._cancelled.is_set():
            raise Cancelled
        return self.end is not None and time.monotonic() > self.end


@dataclass(frozen=True)
class Decoded:
    """The answer of the process that decodes."""

    image: DecodedImage
    suffix: str
    warnings: list[str]


Decoder = Workers[tuple[Path, int, str | None], Decoded | Refused]
OnTile = Callable[[int, int], None]  # gets the number of finished tiles and of all tiles


def decoders(count: int, seconds: float) -> list[Decoder]:
    """Return processes for `upscale`, each for one image at a time. A file that crashes or hangs a decoder fails alone."""
    return [Workers(_decode, processes=1, seconds=seconds) for _ in range(count)]


def _decode(item: tuple[Path, int, str | None]) -> Decoded | Refused:
    path, most, wanted = item
    _close_connections()
    found = kind_of(path)
    if found == "dicom" or (found == "geotiff" and wanted in (None, ".tif")):
        return Refused(415, NOT_KEPT[found])
    content = io.BytesIO(path.read_bytes())  # without the name of the file, which messages would show
    suffix, known = ".png", True
    with large_images(), collected_warnings("the image") as warnings:
        try:
            kind, (width, height) = peek(content)
            suffix = SUFFIXES_BY_FORMAT.get(kind, ".png")
            if width * height > most:
                return Refused(413, f"the image has {width}x{height} pixels, and at most {megapixels(most)} are taken. Send a smaller one")
        except (SrganError, Image.UnidentifiedImageError):
            known = False  # `open_image` names the format
        except Exception as error:  # decoders raise any kind of error for broken files, which `open_image` explains
            log.debug("%s", error)
        content.seek(0)
        try:
            return Decoded(open_image(content), suffix, warnings)
        except SrganError as error:
            return Refused(422 if known else 415, str(error))


@functools.cache
def _close_connections() -> None:
    """Close the connections of clients in a process that inherited them. The service could not end them otherwise."""
    if sys.platform == "linux":  # elsewhere a new process inherits none
        for connection in psutil.Process().net_connections("inet"):
            os.close(connection.fd)


def upscale(
    model: Loaded,
    order: Order,
    decoder: Decoder,
    stop: Stop,
    on_tile: OnTile = lambda done, total: None,
) -> Result:
    """Upscale an image. The result is next to its source.

    Raises:
        Refused: the image is unreadable or too large, the format cannot hold the result, or the time is over.
        Cancelled: the client has gone.
    """
    stop.begin()
    (answer,) = decoder.map([(order.source, order.pixels, order.suffix)])
    if isinstance(answer, Lost):
        raise Refused(422, f"the image: decoding it {answer.reason}. Replace the file")
    if isinstance(answer, Refused):
        raise answer
    target = order.source.with_name(f"result{order.suffix or answer.suffix}")
    file_format = FORMATS[target.suffix]
    _check_result(model, order, answer.image, target, file_format)

    def checked(done: int, total: int) -> None:
        stop.check(done, total)
        on_tile(done, total)

    with collected_warnings("the image") as warnings, order.source.open("rb") as source:
        try:
            size = upscale_file(model.upscaler, source, target, order.options, file_format, checked, answer.image)
        except ModelFailed as error:
            log.error("%s", error)
            raise Refused(500, OUR_FAULT) from error
        except SrganError as error:
            raise Refused(422, str(error).replace(str(target), target.name)) from error
    height, width = answer.image.pixels.shape[:2]
    return Result(target, MEDIA_TYPES[file_format], size, [*answer.warnings, *warnings], model, (width, height))


def _check_result(model: Loaded, order: Order, image: DecodedImage, target: Path, file_format: str) -> None:
    """Check the size of the result before the model runs."""
    factor = order.options.outscale or model.upscaler.scale
    height, width = (max(round(side * factor), 1) for side in image.pixels.shape[:2])
    most = order.pixels * model.upscaler.scale**2
    if width * height > most:
        raise Refused(413, f"the result would have {width}x{height} pixels, and at most {megapixels(most)} are made. Lower outscale")
    try:
        check_size(Path(target.name), file_format, (width, height))
    except SrganError as error:
        raise Refused(413, str(error)) from error


@contextlib.contextmanager
def collected_warnings(about: str) -> Iterator[list[str]]:
    """Collect the warnings of this thread that begin with a text."""
    found: list[str] = []
    thread = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.getMessage().startswith(about):
                found.append(record.getMessage())

    collector, logger = Collector(logging.WARNING), logging.getLogger("srgan")
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
