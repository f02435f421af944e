"""Photographs that ship inside scikit-image, for weights without prepared data: calibration and measurement of lower precisions."""

from pathlib import Path

import cv2
import numpy as np

from srgan.data.download.catalog import local_path
from srgan.data.manifest import Pair
from srgan.degradations.bicubic import bicubic_downscale
from srgan.export.base import Source
from srgan.images.png import write_png
from srgan.images.read import as_grey, read_rgb

MEASURED = ("astronaut.png", "chelsea.png", "coffee.png")
CALIBRATED = ("rocket.jpg", "camera.png", "gravel.png")
_SIDE = 240  # HR pixels, a multiple of every scale


def sample_pairs(source: Source) -> list[Pair]:
    """Return pairs of photographs and their inputs for a network: bicubic LR images, or grey images for a colorization.

    Both are grey for a network with one channel.
    """
    pairs = []
    for name in MEASURED:
        hr_image = _square(name) if source.generator.channels == 3 else as_grey(_square(name))
        pair = Pair("sample", name, source.scratch / f"hr-{name}.png", source.scratch / f"lr-{name}.png")
        for path, image in ((pair.hr, hr_image), (pair.lr, _degraded(hr_image, source))):
            if path and not path.is_file():
                write_png(path, image)
        pairs.append(pair)
    return pairs


def sample_crops(source: Source) -> list[np.ndarray]:
    """Return inputs for calibration, `(h, w, channels)` uint8, of other photographs than `sample_pairs`."""
    crops = [_degraded(_square(name), source) for name in CALIBRATED]
    return crops if source.generator.channels == 3 else [as_grey(crop)[..., None] for crop in crops]


def _square(name: str) -> np.ndarray:
    """Return the middle of a photograph, `(240, 240, 3)` uint8."""
    image = read_rgb(local_path(f"package:skimage/data/{name}") or Path(name))
    top, left = ((side - _SIDE) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + _SIDE, left : left + _SIDE])


def _degraded(image: np.ndarray, source: Source) -> np.ndarray:
    if source.generator.keep_luma:
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return bicubic_downscale(image, source.generator.scale)
