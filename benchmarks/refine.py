"""Measure the options of `srgan upscale` for single images: ``SRGAN_MIRROR=FOLDER python benchmarks/refine.py WHAT``.

    blur     10 images of B100, blurred by an anisotropic Gaussian before the reduction by four, with the starter x4-clean
    clean    Set5 and Set14, reduced by the bicubic filter, with all starters
    hard     10 images of B100 with blur, noise and JPEG, with the starter x4-photo

Each row has means over the images, their differences from the plain model with a 95 % interval, and the processor seconds for an image.
The training on an image ends after its steps, not after 60 seconds, so that other work on the machine changes no figure.

    --only NAME,NAME   options to measure
    --count N          images of each set
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pandas as pd

from profiles import jpeg, noisy, read
from srgan import Upscaler
from srgan.degradations.bicubic import bicubic_downscale, modcrop
from srgan.degradations.blur import kernels
from srgan.evaluation.statistics import intervals
from srgan.inference.refine import Refinement
from srgan.metrics.lpips import Lpips
from srgan.metrics.psnr_ssim import psnr_ssim_y
from srgan.starters import catalogue

SIGMAS = 1.0, 4.0  # of the anisotropic blur, in pixels of the original
OPTIONS = {
    "plain": Refinement(),
    "back-project": Refinement(back_project=True),
    "ensemble": Refinement(ensemble=8),
    "adapt": Refinement(adapt_seconds=3600),
    "adapt+back-project": Refinement(back_project=True, adapt_seconds=3600),
}

Degrade = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def clean(image: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    """Reduce by the bicubic filter."""
    return bicubic_downscale(image, scale)


def blur(image: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    """Blur by an anisotropic Gaussian and reduce."""
    widths, angle = random.uniform(*SIGMAS, 2), random.uniform(0, math.pi)
    (kernel,) = kernels([{"kind": "anisotropic", "size": 25, "sigma": list(widths), "angle": angle, "beta": 1.0}])
    return bicubic_downscale(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT), scale)


def hard(image: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    """Blur by an isotropic Gaussian, reduce, add noise and compress."""
    return jpeg(noisy(bicubic_downscale(cv2.GaussianBlur(image, (0, 0), 1.6, borderType=cv2.BORDER_REFLECT), scale), 6, random), 60)


def measure(starter: str, title: str, images: Iterable[np.ndarray], degrade: Degrade, chosen: list[str]) -> None:
    """Print a row for each option."""
    scale, lpips = catalogue.find(starter).card.scale, Lpips("alex")
    upscalers = {name: Upscaler(starter, refine=OPTIONS[name]) for name in chosen}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for number, whole in enumerate(images):
        hr_image = modcrop(whole, scale)
        lr_image = degrade(hr_image, scale, np.random.default_rng(number))
        for name, upscaler in upscalers.items():
            begin = time.process_time()
            sr_image = upscaler.upscale(lr_image)
            seconds = time.process_time() - begin
            psnr = psnr_ssim_y(sr_image, hr_image, scale)[0]
            print(f"  {title} {number} {name}: {psnr:.2f} dB, {seconds:.1f} s", flush=True)
            found[name].append({"psnr_y": psnr, "lpips": lpips(sr_image, hr_image, scale), "seconds": seconds})
    tables = {name: pd.DataFrame(rows) for name, rows in found.items()}
    for name, table in tables.items():
        means = "  ".join(f"{key} {value:.4f}" for key, value in table.mean().items())
        gains = intervals(table.drop(columns="seconds") - tables["plain"].drop(columns="seconds"))
        texts = [f"{key} {mean:+.4f} ({low:+.4f} to {high:+.4f})" for key, (mean, low, high) in gains.items() if low is not None]
        print(f"{starter:9} {title:6} {name:19} {means}  |  {'  '.join(texts)}", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("blur", "clean", "hard"))
    parser.add_argument("--only", default=",".join(OPTIONS))
    parser.add_argument("--count", type=int, default=10)
    arguments = parser.parse_args()
    chosen = ["plain", *(name for name in arguments.only.split(",") if name != "plain")]
    ten = [image for number, image in enumerate(read("b100", None)) if number % 10 == 0][: arguments.count]
    if arguments.what == "blur":
        measure("x4-clean", "blur", ten, blur, chosen)
    elif arguments.what == "hard":
        measure("x4-photo", "hard", ten, hard, chosen)
    else:
        for starter in catalogue.names():
            for name in ("set5", "set14"):
                measure(starter, name, read(name, arguments.count), clean, chosen)


if __name__ == "__main__":
    main()
