"""Figures of an upscaled image and of its input. None of them needs a ground truth."""

import math
from pathlib import Path

import numpy as np

from srgan.data import estimate
from srgan.images.read import read_rgb
from srgan.inference.batch import large_images
from srgan.metrics.metric import Sample
from srgan.metrics.psnr_ssim import MAX_PSNR
from srgan.metrics.registry import METRICS, open_metrics, score
from srgan.utils.errors import SrganError

SIDE = 1024  # pixels of the middle of a result that is measured
NOT_COMPRESSED = 100  # JPEG quality of an image without traces of a compression
INPUT = ("quality", "noise", "blur")  # of the image that was sent
RESULT = ("consistency", "niqe", "input_color_shift", "checkerboard", "hatch")  # metrics of the result
TITLES = {"quality": "JPEG quality", "noise": "noise, levels of 255", "blur": "blur, pixels"}
TITLES |= {name: METRICS[name].title for name in RESULT}
DIGITS = {kind.name: kind.digits for kind in estimate.KINDS} | {name: METRICS[name].digits for name in RESULT}

Figures = dict[str, float | None]


def of_image(found: estimate.Findings) -> Figures:
    """Return the figures of an image that was sent. A figure that cannot be measured is None."""
    return {"quality": found.quality or NOT_COMPRESSED, "noise": found.noise, "blur": found.blur}


def measure_image(path: Path) -> tuple[Figures, str]:
    """Return the figures of an image file, and the chroma subsampling that the file states."""
    with large_images():
        try:
            found = estimate.measure(path)
        except SrganError:  # too small
            return dict.fromkeys(INPUT), ""
    return of_image(found), found.subsampling


def measure_result(source: Path, result: Path, adds_colour: bool = False) -> Figures:
    """Return the figures of a result file. The middle of both images is compared.

    A result whose size is no multiple of that of the image has neither consistency nor checkerboard.

    Args:
        source: file of the image that was sent.
        result: file of the result.
        adds_colour: the model colourizes, so that a colour shift is its purpose.
    """
    with large_images():
        lr_image, sr_image = read_rgb(source), read_rgb(result)
    factor = max(round(sr_image.shape[0] / lr_image.shape[0]), 1)
    whole = sr_image.shape[:2] == tuple(side * factor for side in lr_image.shape[:2])
    if whole:
        side = SIDE // factor
        top, left = _middle(lr_image, side)
        lr_image = _part(lr_image, top, left, side)
        sr_image = _part(sr_image, top * factor, left * factor, side * factor)
    else:
        sr_image = _part(sr_image, *_middle(sr_image, SIDE), SIDE)
    measured = {"niqe", "hatch"}
    measured |= {"consistency"} if whole and (factor > 1 or adds_colour) else set()
    measured |= {"checkerboard"} if whole and factor > 1 else set()
    measured |= {"input_color_shift"} if whole and not adds_colour else set()
    sample = Sample(sr_image, lr_image=lr_image, scale=factor, grey_input=adds_colour)
    values = score(sample, open_metrics(METRICS[name] for name in measured))
    return {name: _finite(values.get(name, math.nan)) for name in RESULT}


def _middle(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return the row and the column where the middle part begins."""
    top, left = (max(length - side, 0) // 2 for length in image.shape[:2])
    return top, left


def _part(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else min(value, MAX_PSNR)
