"""NIQE: the naturalness of an image, without a ground truth.

Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer", IEEE Signal Processing Letters 2013. Pixels are
normalised by the mean and the deviation of their neighbours. The distribution of the results in blocks of 96x96 pixels is described by 36
numbers. NIQE is the distance of their mean and covariance from those of sharp photographs.

The parameters of the photographs are in an ``.npz`` file with the arrays `mean`, `(36,)`, and `covariance`, `(36, 36)`, float64. The
package ships a file that `benchmarks/niqe.py` made from CC0 photographs. The published parameters are weights of the catalogue.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.special import gamma

from srgan.data.download import weights
from srgan.degradations.bicubic import cubic
from srgan.metrics.metric import Metric, Sample, Scorer
from srgan.utils.errors import SrganError

OWN = Path(__file__).with_name("niqe.npz")
BLOCK = 96  # pixels
SHARP = 0.75  # blocks at least this sharp, relative to the sharpest of the image, describe photographs (section II.B)

_GREY = np.linalg.inv([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])[0]  # MATLAB's rgb2gray: Y of YIQ
_WINDOW = cv2.getGaussianKernel(7, 7 / 6, cv2.CV_64F)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows and columns between the pixels of a product (equations 4 to 7)
_HALF = cubic((np.arange(8) - 3.5) / 2)
_HALF /= _HALF.sum()

_SHAPES = np.arange(0.2, 10.0005, 0.001)  # candidates, as in the authors' code
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))  # rising
_BETWEEN = (_RATIOS[1:] + _RATIOS[:-1]) / 2


class Parameters(NamedTuple):
    """Statistics of the features of photographs: mean `(36,)` and covariance `(36, 36)`."""

    mean: np.ndarray
    covariance: np.ndarray


def read_parameters(path: Path) -> Parameters:
    """Read parameters in the format of this project or in the published format.

    Raises:
        SrganError: the file is missing or has other content.
    """
    try:
        with np.load(path) as content:
            arrays = {name: content[name] for name in content.files}
        mean, covariance = (
            arrays.get(name, arrays.get(f"{former}_pris_param")) for name, former in (("mean", "mu"), ("covariance", "cov"))
        )
        assert mean is not None and covariance is not None
        return Parameters(mean.reshape(36), covariance.reshape(36, 36))
    except (OSError, ValueError, AssertionError) as error:
        raise SrganError(f"{path}: not parameters of NIQE, which are the arrays mean (36) and covariance (36, 36): {error}") from error


def fit(images: Iterable[np.ndarray]) -> Parameters:
    """Fit the parameters to sharp photographs.

    Args:
        images: `(H, W, 3)` uint8.
    """
    rows = []
    for image in images:
        found, sharpness = features(image)
        rows.append(found[sharpness > SHARP * sharpness.max()])
    return _statistics(np.concatenate(rows))


def niqe(image: np.ndarray, parameters: Parameters) -> float:
    """Return NIQE of an `(H, W, 3)` uint8 image. Lower is better. An image with less than two blocks of 96x96 pixels has no value: nan."""
    found, _ = features(image)
    if np.isfinite(found).all(axis=1).sum() < 2:
        return float("nan")
    own = _statistics(found)
    difference = parameters.mean - own.mean
    inverse = np.linalg.pinv((parameters.covariance + own.covariance) / 2)
    return float(np.sqrt(difference @ inverse @ difference))  # equation 10


def features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of each whole block of an `(H, W, 3)` uint8 image, `(B, 36)`, and its sharpness, `(B,)`.

    A feature of a block without variation is nan.
    """
    rows, columns = (side // BLOCK for side in image.shape[:2])
    grey = np.rint(image[: rows * BLOCK, : columns * BLOCK] @ _GREY)
    by_scale, sharpness = [], np.empty(0)
    for side in (BLOCK, BLOCK // 2) if grey.size else ():
        mean = _blur(grey)
        deviation = np.sqrt(np.abs(_blur(grey * grey) - mean * mean))
        by_scale.append(_features(_blocks((grey - mean) / (deviation + 1), side)))  # equation 1
        sharpness = sharpness if len(sharpness) else _blocks(deviation, side).mean(axis=(1, 2))
        grey = cv2.sepFilter2D(grey, cv2.CV_64F, _HALF, _HALF, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)[::2, ::2]
    return np.concatenate(by_scale, axis=1) if by_scale else np.empty((0, 36)), sharpness


def _blur(image: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(image, cv2.CV_64F, _WINDOW, _WINDOW, borderType=cv2.BORDER_REPLICATE)


def _blocks(image: np.ndarray, side: int) -> np.ndarray:
    """Return the blocks of an image, `(B, side, side)`."""
    rows, columns = (size // side for size in image.shape)
    return np.ascontiguousarray(image.reshape(rows, side, columns, side).swapaxes(1, 2)).reshape(-1, side, side)


def _features(blocks: np.ndarray) -> np.ndarray:
    """Return the 18 features of normalised blocks: fits of the pixels and of the products of neighbours."""
    shape, left, right = _fit_asymmetric(blocks)
    found = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _fit_asymmetric(blocks * np.roll(blocks, shift, axis=(1, 2)))
        found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]  # equation 8
    return np.stack(found, axis=1)


def _fit_asymmetric(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return shape, left and right scale of the asymmetric generalised Gaussian of each block, `(B,)` each.

    The method of moments is that of Lasmar, Stitou and Berthoumieu 2009, "Multiscale skewed heavy tailed model for texture analysis".
    """
    values = blocks.reshape(len(blocks), -1)
    squares, negative = values * values, values < 0
    total, below = squares.sum(axis=1), np.einsum("ij,ij->i", squares, negative)
    counts = negative.sum(axis=1), (values > 0).sum(axis=1)
    above = np.where(counts[1] > 0, np.maximum(total - below, 0), 0)  # the difference may have a rounding error
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = np.sqrt(below / counts[0]), np.sqrt(above / counts[1])
        skew = left / right
        flat = np.abs(values).mean(axis=1) ** 2 / (total / values.shape[1])
        ratio = flat * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    at = np.where(np.isnan(ratio), 0, np.searchsorted(_BETWEEN, ratio))
    shape = _SHAPES[at]
    unit = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * unit, right * unit


def _statistics(found: np.ndarray) -> Parameters:
    """Return the mean of each feature without its missing values, and the covariance of the complete rows."""
    return Parameters(np.nanmean(found, axis=0), np.cov(found[np.isfinite(found).all(axis=1)], rowvar=False))


def _scorer(parameters: Parameters) -> Scorer:
    return lambda sample: niqe(sample.sr_image, parameters)


def _load_published(device: torch.device) -> Scorer:
    return _scorer(read_parameters(weights.weights_path("niqe")))


def _score(sample: Sample) -> float:
    return niqe(sample.sr_image, _own())


@cache
def _own() -> Parameters:
    return read_parameters(OWN)


NIQE = Metric(
    "niqe",
    "NIQE",
    "NIQE (Mittal et al. 2013) with the parameters of this project's photographs, for images of at least two blocks of 96x96 pixels",
    better="lower",
    digits=2,
    needs=("sr",),
    score=_score,
    niqe_parameters="own",
)
NIQE_PUBLISHED = Metric(
    "niqe_published",
    "NIQE, published parameters",
    "NIQE with the parameters of its authors, to compare with publications",
    better="lower",
    digits=2,
    needs=("sr",),
    load=_load_published,
    niqe_parameters="published",
)
