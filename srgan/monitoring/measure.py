"""The process of an observer: it measures a result, and the result of another model for the same image.

It is a process of its own with a low priority, so that it takes only the time that requests leave.
"""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import torch

from srgan.images.read import open_image
from srgan.images.write import Options
from srgan.inference.batch import large_images
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.monitoring.figures import Figures, measure_image, measure_result
from srgan.utils.workers import die_with

MODELS = 2  # that stay loaded: champion and challenger


@dataclass(frozen=True)
class Task:
    """A result to measure.

    Attributes:
        source: file of the image.
        result: file of the result.
        file_format: of the result, see `srgan.images.suffixes.FORMATS`.
        options: by which it was written.
        adds_colour: the model colourizes.
        rival: file and digest of another model, whose result for the same image is measured too.
    """

    source: Path
    result: Path
    file_format: str
    options: Options
    adds_colour: bool
    rival: tuple[Path, str] | None = None


@dataclass(frozen=True)
class Observed:
    """The figures of a task.

    Attributes:
        figures: of the image and its result.
        subsampling: chroma subsampling that the file of the image states.
        rival: figures of the other model's result.
        failure: why the other model has no result. Both are empty if there is no other model.
    """

    figures: Figures
    subsampling: str
    rival: Figures | None = None
    failure: str = ""


def begin(parent: int, niceness: int) -> None:
    """Set up the process."""
    die_with(parent)
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such priority
        os.nice(niceness)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def observe(task: Task) -> Observed:
    """Measure a result."""
    figures, subsampling = measure_image(task.source)
    figures |= measure_result(task.source, task.result, task.adds_colour)
    if not task.rival:
        return Observed(figures, subsampling)
    try:
        with tempfile.TemporaryDirectory(dir=task.result.parent) as folder, large_images():
            upscaler = _model(*task.rival)
            if upscaler.sha256 != task.rival[1]:  # the file was replaced in the meantime
                return Observed(figures, subsampling)
            other = Path(folder) / f"rival{task.result.suffix}"
            upscale_file(upscaler, task.source, other, task.options, task.file_format, decoded=open_image(task.source))
            return Observed(figures, subsampling, measure_result(task.source, other, task.adds_colour))
    except Exception as error:  # a damaged model may raise anything
        return Observed(figures, subsampling, failure=str(error) or type(error).__name__)


@lru_cache(MODELS)
def _model(path: Path, digest: str) -> Upscaler:
    """Return a model on one core of the CPU. The digest is part of the key, so that a replaced file is loaded again."""
    return Upscaler(path, "cpu", threads=1)
