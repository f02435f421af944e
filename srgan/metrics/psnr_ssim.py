"""PSNR and SSIM by the protocol of the super-resolution literature.

Images are compared after rounding to 8 bits and cropping a border of `scale` pixels. The `_y` metrics use luma as MATLAB's
``rgb2ycbcr`` makes it (BT.601, 16..235), the `_rgb` metrics all three channels. Images are processed in strips, so memory
hardly grows with their size.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from srgan.images.read import as_rgb

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, "Image quality assessment", section III.B

_WINDOW, _SIGMA = 11, 1.5

_GAUSSIAN = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_32F)

_LUMA = np.array([[65.481 / 255, 128.553 / 255, 24.966 / 255, 16]], np.float32)

_ROWS = 64  # of a strip: what is computed from it fits into a core's cache, which is two to three times as fast


def luma(image: np.ndarray) -> np.ndarray:
    """Y of an `(H, W, 3)` uint8 RGB image: BT.601 in 16..235, `(H, W)` float32, not rounded."""
    return cv2.transform(image.astype(np.float32), _LUMA)


def grey(image: np.ndarray) -> np.ndarray:
    """An `(H, W, 3)` uint8 RGB image as greyscale, as image files hold it: BT.601 in 0..255, `(H, W)` uint8."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


def compare(first: np.ndarray, second: np.ndarray, channels: Callable[[np.ndarray], np.ndarray] = np.asarray) -> tuple[float, float]:
    """PSNR in dB (infinite for equal images) and SSIM of two images of one size, `(H, W)` or `(H, W, C)`.

    SSIM is the mean over positions and channels by Wang et al. 2004: Gaussian window of 11x11 and sigma 1.5, only where it lies inside
    the image.

    Args:
        first: of any kind that `channels` takes.
        second: the other.
        channels: makes of some rows of an image what is compared, in 0..255.
    """
    height, width = first.shape[:2]
    if min(height, width) < _WINDOW:
        raise ValueError(f"SSIM needs at least {_WINDOW}x{_WINDOW} pixels, not {height}x{width}")
    positions = height - _WINDOW + 1
    errors, similarities, pixels, windows = 0.0, 0.0, 0, 0
    for top in range(0, positions, _ROWS):
        bottom = min(top + _ROWS, positions)  # of the windows' first rows; the windows reach further
        # Shifted around zero, so that float32 holds the variances; SSIM's own means get the shift back.
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
    """SSIM at every position of the window, of arrays in -128..127."""
    mean_a, mean_b = _blur(a), _blur(b)
    # Four filters suffice: only the sum of the two variances occurs in the formula.
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
    """PSNR and SSIM on Y of an `(H, W, 3)` uint8 image and its original.

    An original that is greyscale, `(H, W)`, is its own Y, 0..255, as the literature takes it (Set14's ``bridge``).
    """
    return compare(crop_border(sr_image, border), crop_border(hr_image, border), luma if hr_image.ndim == 3 else grey)


def psnr_ssim(sr_image: np.ndarray, hr_image: np.ndarray, border: int) -> dict[str, float]:
    """`psnr_y`, `ssim_y`, `psnr_rgb`, `ssim_rgb` of an `(H, W, 3)` uint8 image and its original, which may be greyscale, `(H, W)`."""
    psnr_y, ssim_y = psnr_ssim_y(sr_image, hr_image, border)
    psnr_rgb, ssim_rgb = compare(crop_border(sr_image, border), crop_border(as_rgb(hr_image), border))
    return {"psnr_y": psnr_y, "ssim_y": ssim_y, "psnr_rgb": psnr_rgb, "ssim_rgb": ssim_rgb}
