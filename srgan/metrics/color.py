"""Metrics of colours: their difference from the ground truth, and their strength."""

import math

import cv2
import numpy as np

from srgan.metrics.metric import Metric, Sample

_ROWS_PER_STRIP = 64  # intermediate results of a strip fit into the cache of a core
_WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)  # D65
_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32)
_LEVELS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_LEVELS > 0.04045, ((_LEVELS + 0.055) / 1.055) ** 2.4, _LEVELS / 12.92).astype(np.float32)  # IEC 61966-2-1
_25_TO_7 = 25.0**7
_COS_6, _COS_30, _COS_63 = (math.cos(math.radians(angle)) for angle in (6, 30, 63))
_SIN_6, _SIN_30, _SIN_63 = (math.sin(math.radians(angle)) for angle in (6, 30, 63))
_TURN, _DEGREES, _THIRD_OF_PI = 2 * math.pi, 180 / math.pi, math.pi / 3


def lab(image: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* (D65) of an `(H, W, 3)` uint8 sRGB image as `(H, W, 3)` float32: L in 0..100, a and b in about -110..100."""
    xyz = cv2.transform(_LINEAR[image], _TO_XYZ / _WHITE[:, None])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the colour difference CIEDE2000 of each pixel, with the weights k = 1.

    Sharma, Wu and Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and mathematical
    observations", equations 2 to 22.

    Args:
        first: CIE L*a*b*, `(..., 3)`.
        second: likewise.

    Returns:
        `(...)` of the same type. 1 is a difference that is just visible.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(colours), -1, 0) for colours in (first, second))
    stretch = 1.5 - 0.5 * _share((_length(a1, b1) + _length(a2, b2)) / 2)
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = _length(a1, b1), _length(a2, b2)
    turn = np.arctan2(a1 * b2 - b1 * a2, a1 * a2 + b1 * b2)  # from hue to hue, the shorter way. 0 if one is grey
    hue = np.arctan2(b1, a1) + np.where(c1 > 0, turn / 2, np.arctan2(b2, a2))  # in the middle, or that of the only one that is not grey
    chroma, middle = (c1 + c2) / 2, ((l1 + l2) / 2 - 50) ** 2
    # cos(h - 30), cos(2 h), cos(3 h + 6) and cos(4 h - 63) in degrees, from the cosine and the sine of h.
    cos, sin = np.cos(hue), np.sin(hue)
    cos2, sin2 = cos * cos - sin * sin, 2 * sin * cos
    cos3, sin3 = cos * cos2 - sin * sin2, sin * cos2 + cos * sin2
    cos4, sin4 = cos2 * cos2 - sin2 * sin2, 2 * sin2 * cos2
    t = 1 + 0.24 * cos2 - 0.17 * (_COS_30 * cos + _SIN_30 * sin)
    t += 0.32 * (_COS_6 * cos3 - _SIN_6 * sin3) - 0.20 * (_COS_63 * cos4 + _SIN_63 * sin4)
    degrees = np.where(hue < 0, hue + _TURN, hue) * _DEGREES
    rotation = np.sin(_THIRD_OF_PI * np.exp(-(((degrees - 275) / 25) ** 2)))
    d_l = (l2 - l1) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    d_c = (c2 - c1) / (1 + 0.045 * chroma)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * chroma * t)
    squared = d_l**2 + d_c**2 + d_h**2 - 2 * _share(chroma) * rotation * d_c * d_h
    return np.sqrt(np.maximum(squared, 0))


def _length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(a * a + b * b)


def _share(chroma: np.ndarray) -> np.ndarray:
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    square = chroma * chroma
    seventh = square * square * square * chroma
    return np.sqrt(seventh / (seventh + _25_TO_7))


def _mean_ciede2000(sample: Sample) -> float:
    total = 0.0
    for top in range(0, len(sample.sr_image), _ROWS_PER_STRIP):
        rows = slice(top, top + _ROWS_PER_STRIP)
        total += float(ciede2000(lab(sample.sr_image[rows]), lab(sample.hr_rgb[rows])).sum(dtype=np.float64))
    return total / (sample.sr_image.shape[0] * sample.sr_image.shape[1])


def colorfulness(image: np.ndarray) -> float:
    """Return how colourful an `(H, W, 3)` uint8 sRGB image is.

    Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images", equation 4, called M(3): deviations and means of red - green and
    of (red + green) / 2 - blue. 0 is grey, 33 is moderately colourful and 59 is quite colourful.
    """
    sums, squares = np.zeros(2), np.zeros(2)
    for top in range(0, len(image), _ROWS_PER_STRIP):
        red, green, blue = cv2.split(image[top : top + _ROWS_PER_STRIP].astype(np.float32))
        for index, difference in enumerate((red - green, (red + green) / 2 - blue)):
            sums[index] += difference.sum(dtype=np.float64)
            squares[index] += np.square(difference).sum(dtype=np.float64)
    means = sums / (image.shape[0] * image.shape[1])
    variances = np.maximum(squares / (image.shape[0] * image.shape[1]) - means**2, 0)
    return float(np.sqrt(variances.sum()) + 0.3 * np.hypot(*means))


CIEDE2000 = Metric(
    "ciede2000",
    "CIEDE2000",
    "mean colour difference CIEDE2000 (Sharma et al. 2005), where 1 is just visible",
    better="lower",
    digits=2,
    score=_mean_ciede2000,
)
COLORFULNESS = Metric(
    "colorfulness",
    "colourfulness",
    "strength of the colours (Hasler and Süsstrunk 2003; grey: 0, photographs: about 30 to 60)",
    better="higher",
    digits=1,
    needs=("sr",),
    score=lambda sample: colorfulness(sample.sr_image),
)
