"""Figures that compare an output with its input, for images without a ground truth."""

import math

import cv2
import numpy as np

from srgan.degradations.bicubic import bicubic_downscale
from srgan.metrics.metric import Metric, Sample
from srgan.metrics.psnr_ssim import luma


def consistency(sr_image: np.ndarray, lr_image: np.ndarray, scale: int, grey_input: bool = False) -> float:
    """Return the PSNR in dB between the output, degraded again, and the input. Equal images give infinity.

    The rule of the degradation must be known: the bicubic reduction at a scale above 1, and the luma if the input is a greyscale version
    of the original at scale 1. The value is nan for other inputs of scale 1, such as noisy ones.

    Args:
        sr_image: `(scale * H, scale * W, 3)` uint8.
        lr_image: `(H, W, 3)` uint8.
        scale: output size / input size.
        grey_input: the input is the greyscale version of the original.
    """
    if scale > 1:
        difference = cv2.absdiff(bicubic_downscale(sr_image, scale), lr_image).astype(np.float32)
    elif grey_input:
        difference = (luma(sr_image) - luma(lr_image)) * (255 / 219)  # luma spans 219 levels
    else:
        return math.nan
    error = float(np.square(difference).mean(dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _consistency(sample: Sample) -> float:
    assert sample.lr_image is not None
    return consistency(sample.sr_image, sample.lr_image, sample.scale, sample.grey_input)


def _input_color_shift(sample: Sample) -> float:
    assert sample.lr_image is not None
    return float(np.abs(np.subtract(cv2.mean(sample.sr_image), cv2.mean(sample.lr_image))).max())


CONSISTENCY = Metric(
    "consistency",
    "consistency",
    "PSNR between the output, degraded again, and the input: bicubic reduction at a scale above 1, luma at scale 1 with the recipe "
    "`grayscale`. Other recipes at scale 1 have no value",
    better="higher",
    digits=2,
    unit="dB",
    needs=("sr", "lr"),
    score=_consistency,
)
INPUT_COLOR_SHIFT = Metric(
    "input_color_shift",
    "colour shift to the input",
    "largest difference of a channel mean between output and input, in levels of 255",
    better="lower",
    digits=2,
    needs=("sr", "lr"),
    score=_input_color_shift,
)
