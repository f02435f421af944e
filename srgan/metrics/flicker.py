"""Flicker: what changes between neighbouring frames of a clip although it should not, with and without the original."""

import math
from functools import partial

import cv2
import numpy as np
import torch

from srgan.images.flow import follow, holds, optical_flow
from srgan.metrics.lpips import Lpips
from srgan.metrics.metric import Metric, Sample, Scorer
from srgan.metrics.psnr_ssim import grey

SAME_SCENE = 0.5  # share of the pixels whose flow holds, below which two frames have a cut between them
# Of Farnebäck's method, as in `metrics.py` of TecoGAN: pyramid, levels, window, iterations, neighbourhood, sigma, flags
FARNEBACK = 0.5, 3, 15, 3, 5, 1.2, 0


def warping_error(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean difference of two neighbouring frames after motion compensation, in levels of 255 (Lai et al. 2018, section 4.2).

    Pixels count where the optical flow and the flow back agree. The value is nan if these are few, as at a cut.

    Args:
        before: `(H, W, 3)` uint8.
        after: the next frame, of the same size.
    """
    backward, forward = optical_flow(grey(after), grey(before)), optical_flow(grey(before), grey(after))
    seen = holds(backward, forward)
    if seen.mean() < SAME_SCENE:
        return math.nan
    moved = follow(before, backward)
    return float(cv2.absdiff(after, moved)[seen].mean(dtype=np.float64))


def flow_difference(sr_images: tuple[np.ndarray, np.ndarray], hr_images: tuple[np.ndarray, np.ndarray]) -> float:
    """Return tOF: the mean length of the difference between the motion of the result and that of the original, in pixels (Chu et al. 2020).

    Args:
        sr_images: two neighbouring frames, `(H, W, 3)` uint8.
        hr_images: the same frames of the original.
    """
    sr_flow, hr_flow = (
        cv2.calcOpticalFlowFarneback(grey(before), grey(after), np.empty(0), *FARNEBACK) for before, after in (sr_images, hr_images)
    )
    return float(np.linalg.norm(sr_flow - hr_flow, axis=2).mean(dtype=np.float64))


def _neighbours(sample: Sample) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    assert sample.before is not None
    return (sample.before.sr_image, sample.sr_image), (sample.before.hr_rgb, sample.hr_rgb)


def _warping_error(sample: Sample) -> float:
    assert sample.before is not None
    return warping_error(sample.before.sr_image, sample.sr_image)


def _flow_difference(sample: Sample) -> float:
    return flow_difference(*_neighbours(sample))


def _load(device: torch.device) -> Scorer:
    return partial(_change_difference, Lpips("alex", device))


def _change_difference(lpips: Lpips, sample: Sample) -> float:
    sr_change, hr_change = (lpips(*images) for images in _neighbours(sample))
    return 100 * abs(sr_change - hr_change)


WARPING_ERROR = Metric(
    "warping_error",
    "warping error",
    "mean difference between a frame and the one before it, moved along the optical flow (DIS) between the two, in levels of 255. "
    "Only pixels count where the flow back agrees, and no cuts",
    better="lower",
    digits=3,
    needs=("sr", "before"),
    score=_warping_error,
)
FLICKER = Metric(
    "flicker",
    "flicker",
    "warping error relative to that of the input clip (as steady as the input: 1)",
    better="lower",
    digits=2,
)
TOF = Metric(
    "tof",
    "tOF",
    "mean difference between the optical flows (Farnebäck) of result and original, in pixels (Chu et al. 2020)",
    better="lower",
    digits=3,
    needs=("sr", "hr", "before"),
    score=_flow_difference,
)
TLPIPS = Metric(
    "tlpips",
    "tLPIPS x 100",
    "difference between the changes from frame to frame of result and original, each as 100 x LPIPS (Chu et al. 2020: tLP)",
    better="lower",
    digits=3,
    needs=("sr", "hr", "before"),
    load=_load,
    lpips_network="alex",
)
