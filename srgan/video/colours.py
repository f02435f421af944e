"""Convert Y'CbCr of clips to R'G'B' and back: BT.601, BT.709 and BT.2020, full and limited range, 8 to 16 bits.

FFmpeg's own conversion of more than 8 bits maps white of limited range to 65,283 of 65,535, so the matrices are applied here.
"""

import functools

import cv2
import numpy as np

BT709, UNSPECIFIED, SMPTE170M, BT2020 = 1, 2, 6, 9  # numbers of ITU-T H.273, which FFmpeg uses too
PQ, HLG, SRGB = 16, 18, 13  # transfer functions of H.273
HDR = {PQ: "PQ", HLG: "HLG"}
# Weights of red and blue in luma by the number of the matrix, H.273 table 4.
LUMA_WEIGHTS = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    7: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
}


def assumed_matrix(width: int, height: int) -> int:
    """Return the matrix of a clip that names none: BT.709 from 1280 pixels of width or 577 lines on, else BT.601, as players do."""
    return BT709 if width >= 1280 or height > 576 else SMPTE170M


def to_rgb(yuv: np.ndarray, matrix: int, full: bool, bits: int) -> np.ndarray:
    """Convert Y'CbCr to R'G'B'. Values beyond the nominal range are clipped.

    Args:
        yuv: `(H, W, 3)`, or `(H, W, 4)` with alpha, uint8 or uint16. Samples of less than 16 bits are in the upper bits of uint16.
        matrix: a key of `LUMA_WEIGHTS`.
        full: full range, else limited range (16 to 235 of 255).
        bits: of a sample.

    Returns:
        the same shape and type. White and opaque are its largest value.
    """
    return _product(yuv, _to_rgb(matrix, full, bits, yuv.dtype.itemsize * 8, yuv.shape[2]))


def to_yuv(rgb: np.ndarray, matrix: int, full: bool, bits: int) -> np.ndarray:
    """Convert R'G'B' to Y'CbCr, the inverse of `to_rgb`. `bits` are those that a sample will be rounded to."""
    channels = rgb.shape[2]
    forward = _to_rgb(matrix, full, bits, rgb.dtype.itemsize * 8, channels)
    return _product(rgb, np.linalg.inv(np.vstack([forward, np.eye(channels + 1)[-1]]))[:channels])


@functools.cache
def _to_rgb(matrix: int, full: bool, bits: int, stored: int, channels: int) -> np.ndarray:
    """Return the affine map `(channels, channels + 1)` from Y'CbCr to R'G'B' of `stored` bits, H.273 sections 8.2 and 8.3."""
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    colours = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    unit, peak = 1 << (stored - 8), ((1 << bits) - 1) << (stored - bits)
    black, luma, chroma = (0, peak, peak) if full else (16 * unit, 219 * unit, 224 * unit)
    white = (1 << stored) - 1
    affine = np.eye(channels, channels + 1) * (white / peak)  # of alpha, which has full range
    affine[:3, :3] = white * colours / [luma, chroma, chroma]
    affine[:3, -1] = -affine[:3, :3] @ [black, 128 * unit, 128 * unit]
    return affine


def _product(pixels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Apply an affine map to each pixel, rounded and clipped. OpenCV is exact for uint16 only."""
    result = cv2.transform(pixels.astype(np.uint16, copy=False), affine)
    if pixels.dtype == np.uint16:
        return result
    return np.minimum(result, 255, out=result).astype(np.uint8)
