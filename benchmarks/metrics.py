"""Measure the evaluation: ``python benchmarks/metrics.py`` (one minute).

PSNR and SSIM on Y of a 2K pair: this project (float32, separable filters, strips) against scikit-image (float64). A set with the
image size of B100: all cores against one core. The sides run alternately in one run and the median counts. The last lines are
``ratio NAME VALUE`` (above 1: this project is faster) and ``value NAME VALUE`` (difference of the metrics).
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from data import in_turn, photograph
from srgan.data.manifest import Pair
from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale
from srgan.evaluation import evaluate
from srgan.images.png import write_png
from srgan.inference.torch_upscale import upscale
from srgan.metrics.psnr_ssim import psnr_ssim_y
from srgan.models.registry import build_generator

BORDER = SCALE = 4
IMAGES = 12  # of 480x320


def skimage_y(sr_image: np.ndarray, hr_image: np.ndarray) -> tuple[float, float]:
    """Return PSNR and SSIM of scikit-image with the settings of Wang et al. 2004."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    first, second = (image[BORDER:-BORDER, BORDER:-BORDER].astype(np.float64) @ weights + 16 for image in (sr_image, hr_image))
    # The literature uses the mean over the valid region.
    _, values = structural_similarity(
        first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return peak_signal_noise_ratio(second, first, data_range=255), float(values[5:-5, 5:-5].mean())


def make_set(folder: Path) -> list[Pair]:
    """Return crops of a photograph and their LR images."""
    photo, pairs = photograph(0), []
    for number in range(IMAGES):
        top, left = number % 4 * 320, number // 4 * 480
        pairs.append(Pair("details", str(number), folder / f"{number}_hr.png", folder / f"{number}_lr.png"))
        write_png(pairs[-1].hr, photo[top : top + 320, left : left + 480])
        write_png(pairs[-1].lr, bicubic_downscale(photo[top : top + 320, left : left + 480], SCALE))
    return pairs


def on_cores(cores: set[int], pairs: list[Pair]) -> None:
    """Score bicubic and a small network."""
    torch.manual_seed(0)
    network = build_generator("compact", scale=SCALE, features=32, depth=8).eval()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        subjects = {"bicubic": partial(bicubic_upscale, scale=SCALE), "compact": partial(upscale, network)}
        evaluate.evaluate(pairs, subjects, SCALE)
    finally:
        os.sched_setaffinity(0, before)


def main() -> None:
    """Run the comparisons and print the values last."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        pairs = make_set(Path(folder))
        sets = {"all": lambda: on_cores(cores, pairs), "one": lambda: on_cores({min(cores)}, pairs)}
        times = in_turn(sets, 5)
    print(f"{IMAGES} images scored on {len(cores)} cores in {times['all']:.2f} s, on one in {times['one']:.2f} s")
    scored = times["one"] / times["all"]
    hr_image = photograph(0)
    sr_image = cv2.GaussianBlur(hr_image, (0, 0), 1.2)
    sides = {
        "ours": lambda: psnr_ssim_y(sr_image, hr_image, BORDER),
        "skimage": lambda: skimage_y(sr_image, hr_image),
    }
    (psnr, ssim), (expected_psnr, expected_ssim) = sides["ours"](), sides["skimage"]()
    seconds = in_turn(sides, 9)
    height, width = hr_image.shape[:2]
    print(f"PSNR and SSIM of {width}x{height}: {1e3 * seconds['ours']:.0f} ms, skimage {1e3 * seconds['skimage']:.0f} ms")
    print(f"{psnr:.4f} dB and {ssim:.6f}, skimage {expected_psnr:.4f} dB and {expected_ssim:.6f}")
    print(f"ratio evaluation_all_cores {scored:.2f}")
    print(f"ratio psnr_ssim {seconds['skimage'] / seconds['ours']:.2f}")
    print(f"value psnr_difference {abs(psnr - expected_psnr):.2e}")
    print(f"value ssim_difference {abs(ssim - expected_ssim):.2e}")


if __name__ == "__main__":
    main()
