"""Hatch: a periodic texture in flat regions, such as GANs add to skies and walls.

The spectra of small flat windows are averaged. A pattern that repeats in most of them is a narrow peak, in any direction. Noise and the
content of the image are broad. The figure is the amplitude of the strongest peak.
"""

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft, ndimage

from srgan.metrics.metric import Metric
from srgan.metrics.psnr_ssim import luma

LONGEST_PERIOD = 8  # pixels
WINDOW, STRIDE = 32, 16  # pixels

MAX_RANGE = 34  # levels of blurred luma that a flat window spans at most
MAX_NOISE = 4  # levels: the standard deviation of the noise of a flat window is at most this
NOT_CLIPPED = 23, 228  # mean luma of a window in which a pattern can show
MIN_WINDOWS = 8  # fewer are no flat region
KEPT = 0.8  # share of the windows that are averaged at each frequency, without the strongest: those show content of the image
MARGIN = 0.2  # a broad spectrum, such as that of grass, is uneven by this share and by twice the standard error of its windows
CHUNK = 512  # windows that are transformed at once

_TAPER = np.outer(*2 * [np.hanning(WINDOW + 1)[:-1]]).astype(np.float32)
_AMPLITUDE = np.full((WINDOW, WINDOW), 2 / _TAPER.sum(), np.float32)  # of a spectrum's value
_AMPLITUDE[:: WINDOW // 2, :: WINDOW // 2] /= 2  # a wave of period 2 has one value in the spectrum, all others have two
_FREQUENCIES = np.hypot(*np.meshgrid(fft.fftfreq(WINDOW), fft.fftfreq(WINDOW), indexing="ij"))
_BAND = _FREQUENCIES > 1 / LONGEST_PERIOD - 1e-9
_WHITEN = np.maximum(_FREQUENCIES * WINDOW, 1) ** 2  # the power of photographs falls with the square of the frequency
_NOISE = np.log(2) * _AMPLITUDE[0, 1] ** 2 * (_TAPER**2).sum()  # median of the spectrum's power for noise of 1 level
_RING = np.pad(np.zeros((3, 3), bool), 2, constant_values=True)  # the neighbours of a frequency that the taper does not reach


def hatch(image: np.ndarray, original: np.ndarray | None = None) -> float:
    """Return the amplitude of the strongest periodic texture in the flat regions of an image, in levels of 255.

    A texture counts if its period is 2 to 8 pixels and its peak in the spectrum is narrow. The amplitude is a quadratic mean over the
    channels. It is the excess over the neighbouring frequencies.

    Args:
        image: `(H, W, 3)` uint8.
        original: image of the same size whose texture at the same places does not count.

    Returns:
        0 if the image has no flat region.
    """
    if min(image.shape[:2]) < WINDOW:
        return 0.0
    chosen = _smooth_windows(image)
    spectra = _spectra(image, chosen)
    flat = np.median(spectra[:, _BAND], axis=1) < _NOISE * MAX_NOISE**2
    if flat.sum() < MIN_WINDOWS:
        return 0.0
    power = _average(spectra[flat])
    others = ndimage.maximum_filter(power * _WHITEN, footprint=_RING, mode="wrap") / _WHITEN
    if original is not None:
        others = np.maximum(others, _average(_spectra(original, chosen[flat])))
    # Amplitude of a peak relative to its neighbours. Amplitudes of noise deviate by half of their mean (Rayleigh distribution).
    least = 1 + MARGIN + 1 / np.sqrt(flat.sum())
    peaks = _BAND & (power > least**2 * others)
    return float(np.sqrt(np.where(peaks, power - others, 0).max()))


def _smooth_windows(image: np.ndarray) -> np.ndarray:
    """Return row and column of the windows without edges, `(n, 2)`. The blur hides the periodic texture."""
    windows = _windows(cv2.GaussianBlur(luma(image), (0, 0), 3))
    mean = windows.mean(axis=(2, 3))
    smooth = windows.max(axis=(2, 3)) - windows.min(axis=(2, 3)) < MAX_RANGE
    return np.argwhere(smooth & (mean > NOT_CLIPPED[0]) & (mean < NOT_CLIPPED[1]))


def _windows(plane: np.ndarray) -> np.ndarray:
    return sliding_window_view(plane, (WINDOW, WINDOW))[::STRIDE, ::STRIDE]


def _spectra(image: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the squared amplitude at each frequency of some windows, the mean over the channels, `(n, 32, 32)`."""
    total = np.zeros((len(chosen), WINDOW, WINDOW), np.float32)
    for channel in np.moveaxis(image, 2, 0):
        windows = _windows(channel)
        for first in range(0, len(chosen), CHUNK):
            part = windows[tuple(chosen[first : first + CHUNK].T)].astype(np.float32)
            values = fft.fft2((part - part.mean(axis=(1, 2), keepdims=True)) * _TAPER)
            total[first : first + CHUNK] += values.real**2 + values.imag**2
    return total * (_AMPLITUDE**2 / 3)


def _average(spectra: np.ndarray) -> np.ndarray:
    """Return the square of the mean amplitude at each frequency, without the strongest windows."""
    kept = int(KEPT * len(spectra))
    return np.sqrt(np.partition(spectra, kept, axis=0)[:kept]).mean(axis=0, dtype=np.float64) ** 2


HATCH = Metric(
    "hatch",
    "hatch",
    "amplitude of the strongest periodic texture in flat regions, with a period of 2 to 8 pixels in any direction, in levels of 255 "
    "(photographs: below 0.1, visible: above 0.2). With an original: the excess over it",
    better="lower",
    digits=2,
    needs=("sr",),
    score=lambda sample: hatch(sample.sr_image, sample.hr_rgb if sample.hr_image is not None else None),
    validation=True,
)
