"""The reduction that made an image: a Gaussian blur, estimated from the image itself, and MATLAB's bicubic filter.

Scenes look alike at several scales, so a reduction of the image by the right kernel has the spectrum of the image itself (Michaeli and
Irani 2013, "Nonparametric blind super-resolution"; Bell-Kligler et al. 2019, https://arxiv.org/abs/1909.06581). The kernels that are
compared here are Gaussian. Noise and JPEG compression are no part of it.
"""

import itertools
import math

import cv2
import numpy as np
from scipy import fft

from srgan.degradations.bicubic import downscale_weights
from srgan.images.hints import LUMA

SIDE = 256  # pixels of the middle of an image that is measured
MIN_SIDE = 80  # smaller images have too few values in a part of the spectrum
DEVIATIONS = np.arange(0, 1.25, 0.15)  # standard deviations that are tried, in pixels of the image
ANGLES = 8  # directions that are tried
FACTOR = 3  # of the reduction that is compared with the image
LOWEST, HIGHEST = 0.1, 0.5  # frequencies that are compared, in waves per pixel
RINGS, SECTORS = 4, 8  # of the spectrum in which the power is averaged
EVIDENCE = 0.6  # a blur is found if it leaves less than this share of the difference between the spectra
LEAST_POWER = 1e-3  # of 8-bit levels, below the rounding


def estimate_blur(image: np.ndarray) -> np.ndarray:
    """Return the covariance of the Gaussian blur of an image, `(2, 2)` in squared pixels of the image, x first.

    On blurred images of B100 the standard deviation of a direction was wrong by 0.07 pixels in the mean. A sharp image with large and
    smooth shapes, such as the wings of a butterfly, can count as blurred.

    Args:
        image: `(H, W, 3)` float32 in 0..1. An image with a side below `MIN_SIDE` counts as sharp.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return np.zeros((2, 2))
    top, left = (max(side - SIDE, 0) // 2 for side in image.shape[:2])
    luma = image[top : top + SIDE, left : left + SIDE].astype(np.float32) @ LUMA * 255
    power, counts = _log_power(luma)
    spectrum = fft.rfft2(luma)
    candidates, costs = _candidates(), []
    for covariance in candidates:
        blurred = fft.irfft2(spectrum * _response(luma.shape, covariance * FACTOR**2), luma.shape)
        reduced, reduced_counts = _log_power(_bicubic(blurred))
        weights = np.minimum(counts, reduced_counts)
        difference = reduced - power
        costs.append(np.average((difference - np.average(difference, weights=weights)) ** 2, weights=weights))  # contrast is free
    best = int(np.argmin(costs))
    return candidates[best if costs[best] < EVIDENCE * costs[0] else 0]


def _candidates() -> list[np.ndarray]:
    """Return the covariances that are tried, first that of a sharp image."""
    found = []
    for narrow, wide in itertools.combinations_with_replacement(DEVIATIONS, 2):
        for angle in np.arange(1 if narrow == wide else ANGLES) * (math.pi / ANGLES):
            axes = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            found.append(axes @ np.diag([wide**2, narrow**2]) @ axes.T)
    return found


def _response(shape: tuple[int, ...], covariance: np.ndarray) -> np.ndarray:
    """Return the Fourier transform of a Gaussian at the frequencies of a real image."""
    y, x = fft.fftfreq(shape[0]).astype(np.float32)[:, None], fft.rfftfreq(shape[1]).astype(np.float32)[None]
    return np.exp(-2 * math.pi**2 * (covariance[0, 0] * x * x + 2 * covariance[0, 1] * x * y + covariance[1, 1] * y * y))


def _bicubic(luma: np.ndarray) -> np.ndarray:
    """Return the luma reduced by `FACTOR`."""
    taps, anchor = downscale_weights(FACTOR)
    return cv2.sepFilter2D(luma, -1, taps, taps, anchor=(anchor, anchor), borderType=cv2.BORDER_REFLECT)[::FACTOR, ::FACTOR]


def _log_power(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithm of the mean power in each part of the spectrum, and the number of values in it."""
    height, width = luma.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(fft.fft2((luma - np.average(luma, weights=window)) * window)) ** 2 / luma.size
    y, x = (values.ravel() for values in np.meshgrid(fft.fftfreq(height), fft.fftfreq(width), indexing="ij"))
    radius = np.hypot(x, y)
    inside = (radius >= LOWEST) & (radius < HIGHEST)
    ring = ((radius - LOWEST) / (HIGHEST - LOWEST) * RINGS).astype(int)
    sector = np.round(np.arctan2(y, x) / math.pi * SECTORS).astype(int) % SECTORS
    part = (ring * SECTORS + sector)[inside]
    counts = np.bincount(part, minlength=RINGS * SECTORS)
    return np.log(np.bincount(part, power.ravel()[inside], RINGS * SECTORS) / np.maximum(counts, 1) + LEAST_POWER), counts


class Reduction:
    """A blur and a reduction by an integer factor, as one filter.

    Args:
        scale: size of the image / size of the result.
        blur: covariance of a Gaussian in squared pixels of the result, see `estimate_blur`. Default: the bicubic filter alone.

    Attributes:
        reach: pixels of the result in each direction that the values of the image depend on, or the reverse.
    """

    def __init__(self, scale: int, blur: np.ndarray | None = None) -> None:
        taps, anchor = downscale_weights(scale)
        covariance = (np.zeros((2, 2)) if blur is None else blur) * scale**2 + 1e-4 * np.eye(2)  # without blur: a single pixel
        half = math.ceil(3 * math.sqrt(np.linalg.eigvalsh(covariance)[-1]))
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        inverse = np.linalg.inv(covariance)
        gaussian = np.exp(-0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))
        padded = np.pad(gaussian / gaussian.sum(), len(taps) // 2 + 1)
        # A filter of a filter. Both are symmetric, so that a correlation equals a convolution.
        self._kernel = cv2.sepFilter2D(padded, -1, taps, taps, anchor=(len(taps) - 1 - anchor,) * 2, borderType=cv2.BORDER_CONSTANT)
        self._anchor = half + len(taps) // 2 + 1
        self.scale, self.reach = scale, math.ceil(self._kernel.shape[0] / 2 / scale)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return `(H, W, 3)` float32, reduced to `(H / scale, W / scale, 3)`. The scale divides both sides.

        Borders are mirrored. Values are clipped to 0..1, as those of an image file are.
        """
        filtered = cv2.filter2D(image, -1, self._kernel, anchor=(self._anchor, self._anchor), borderType=cv2.BORDER_REFLECT)
        return filtered[:: self.scale, :: self.scale].clip(0, 1)


def agreement(image: np.ndarray, sr_image: np.ndarray, reduction: Reduction) -> float:
    """Return the PSNR in dB between an image and its upscaled version after the reduction, both `(H, W, 3)` float32 in 0..1."""
    error = float(np.square(reduction(sr_image) - image).mean(dtype=np.float64))
    return -10 * math.log10(max(error, 1e-10))
