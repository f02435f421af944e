"""PSNR and SSIM by the protocol of the super-resolution literature.

Images are rounded to 8 bits, except those of trainings with 16 bits, and a border of `scale` pixels is cut before the comparison. The
`_y` metrics use the luma of ``rgb2ycbcr`` in MATLAB (BT.601 in 16..235). The `_rgb` metrics use all three channels. Images are processed in
strips so that memory hardly grows with their size.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from srgan.images.read import as_rgb
from srgan.metrics.metric import Metric, Sample

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, "Image quality assessment", section III.B

_WINDOW, _SIGMA = 11, 1.5

_GAUSSIAN = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_32F)

_LUMA = np.array([[65.481 / 255, 128.553 / 255, 24.966 / 255, 16]], np.float32)

_ROWS_PER_STRIP = 64  # intermediate results of a strip fit into the cache of a core: two to three times as fast


def levels(image: np.ndarray) -> np.ndarray:
    """Return an uint8 or uint16 image in 0..255."""
    return image / np.float32(257) if image.dtype == np.uint16 else image


def luma(image: np.ndarray) -> np.ndarray:
    """Return Y of an `(H, W, 3)` uint8 or uint16 RGB image: BT.601 in 16..235 as `(H, W)` float32 without rounding."""
    return cv2.transform(levels(image).astype(np.float32), _LUMA)


def grey(image: np.ndarray) -> np.ndarray:
    """Return an `(H, W, 3)` RGB image as greyscale as in image files: BT.601, rounded to the type of the image, in 0..255."""
    return levels(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image)


def compare(first: np.ndarray, second: np.ndarray, channels: Callable[[np.ndarray], np.ndarray] = levels) -> tuple[float, float]:
    """Return PSNR in dB (infinite for equal images) and SSIM of two images of equal size `(H, W)` or `(H, W, C)`.

    SSIM is the mean over positions and channels by Wang et al. 2004. The Gaussian window has 11x11 pixels and sigma 1.5. Only positions
    where the window is inside the image count.

    Args:
        first: image in any form that `channels` accepts.
        second: the other image.
        channels: converts some rows of an image to the values to compare in 0..255.

    Raises:
        ValueError: an image is smaller than the window.
    """
    height, width = first.shape[:2]
    if min(height, width) < _WINDOW:
        raise ValueError(f"SSIM needs at least {_WINDOW}x{_WINDOW} pixels, not {height}x{width}")
    positions = height - _WINDOW + 1
    errors, similarities, pixels, windows = 0.0, 0.0, 0, 0
    for top in range(0, positions, _ROWS_PER_STRIP):
        bottom = min(top + _ROWS_PER_STRIP, positions)  # of the windows' first rows: the windows extend further down
        # Shifted around zero for the precision of the variances in float32. `_similarity` adds the shift to the means.
        a, b = (channels(image[top : bottom + _WINDOW - 1]).astype(np.float32) - 128 for image in (first, second))
        own = slice(None if bottom == positions else bottom - top)
        difference = (a[own] - b[own]).ravel()
        errors += float(np.dot(difference, difference))
        pixels += difference.size
        map_ = _similarity(a, b)
        similarities += float(map_.sum(dtype=np.float64))
        windows += map_.size
    return 10 * math.log10(255**2 * pixels / errors) if errors else math.inf, similarities / windows


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return SSIM at every position of the window for arrays in -128..127."""
    mean_a, mean_b = _blur(a), _blur(b)
    # Four filters instead of five: the formula contains only the sum of the two variances.
    squares, product = mean_a**2 + mean_b**2, mean_a * mean_b
    variances, covariance = _blur(a * a + b * b) - squares, _blur(a * b) - product
    shift = 128 * (mean_a + mean_b) + 128**2  # (a + 128) * (b + 128) = a * b + shift
    return (2 * (product + shift) + _C1) * (2 * covariance + _C2) / ((squares + 2 * shift + _C1) * (variances + _C2))


def _blur(image: np.ndarray) -> np.ndarray:
    inside = _WINDOW // 2
    return cv2.sepFilter2D(image, cv2.CV_32F, _GAUSSIAN, _GAUSSIAN)[inside:-inside, inside:-inside]


def crop_border(image: np.ndarray, border: int) -> np.ndarray:
    """Cut `border` pixels from each side."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def psnr_ssim_y(sr_image: np.ndarray, hr_image: np.ndarray, border: int) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of the Y channel (BT.601, 16..235), as papers report them.

    Args:
        sr_image: `(H, W, 3)` uint8.
        hr_image: the ground truth, `(H, W, 3)` uint8. A greyscale image `(H, W)` is its own Y (Set14's ``bridge``).
        border: pixels that are cut from each side, by convention the scale.

    Returns:
        PSNR (infinite for equal images) and SSIM in -1..1.

    Raises:
        ValueError: fewer than 11x11 pixels are left.

    Example:
        >>> import numpy as np
        >>> from srgan import psnr_ssim_y
        >>> image = np.full((32, 32, 3), 100, np.uint8)
        >>> psnr, ssim = psnr_ssim_y(image + 1, image, border=2)
        >>> round(psnr, 1), round(ssim, 3)
        (49.5, 1.0)
    """
    return compare(crop_border(sr_image, border), crop_border(hr_image, border), luma if hr_image.ndim == 3 else grey)


def psnr_ssim(sr_image: np.ndarray, hr_image: np.ndarray, border: int) -> dict[str, float]:
    """Return PSNR and SSIM on Y and on RGB of an `(H, W, 3)` uint8 image. The ground truth is `(H, W, 3)` or `(H, W)`."""
    sample = Sample(sr_image, hr_image, scale=border)
    (psnr_y, ssim_y), (psnr_rgb, ssim_rgb) = _compare_y(sample), _compare_rgb(sample)
    return {"psnr_y": psnr_y, "ssim_y": ssim_y, "psnr_rgb": psnr_rgb, "ssim_rgb": ssim_rgb}


def _compare_y(sample: Sample) -> tuple[float, float]:
    return psnr_ssim_y(*sample.deepest, sample.scale)


def _compare_rgb(sample: Sample) -> tuple[float, float]:
    sr_image, hr_image = sample.deepest
    return compare(crop_border(sr_image, sample.scale), crop_border(as_rgb(hr_image), sample.scale))


MAX_PSNR = 60.0  # dB. Rounding to 8 bits alone gives 58.9 dB, so rules ignore differences above


PSNR_Y = Metric(
    "psnr_y",
    "PSNR-Y",
    "PSNR on BT.601 luma in 16..235 (MATLAB's `rgb2ycbcr`) of 8-bit images without a border of `scale` pixels",
    better="higher",
    digits=2,
    unit="dB",
    score=lambda sample: sample.once(_compare_y)[0],
    validation=True,
    in_cards=True,
    rank=2,
)
SSIM_Y = Metric(
    "ssim_y",
    "SSIM-Y",
    "SSIM (Wang et al. 2004) on the same luma, with an 11x11 Gaussian window of sigma 1.5 in the valid region",
    better="higher",
    digits=4,
    score=lambda sample: sample.once(_compare_y)[1],
    validation=True,
    in_cards=True,
)
PSNR_RGB = Metric(
    "psnr_rgb",
    "PSNR-RGB",
    "PSNR on RGB",
    better="higher",
    digits=2,
    unit="dB",
    score=lambda sample: sample.once(_compare_rgb)[0],
)
SSIM_RGB = Metric(
    "ssim_rgb",
    "SSIM-RGB",
    "SSIM on RGB",
    better="higher",
    digits=4,
    score=lambda sample: sample.once(_compare_rgb)[1],
)
