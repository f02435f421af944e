"""How fast images are scored: ``python benchmarks/metrics.py`` (half a minute).

PSNR and SSIM on Y of a 2K pair: ours (float32, separable filters) against scikit-image on float64, in turn in one run; medians count.
The last lines are ``ratio NAME VALUE`` (above 1: ours is faster) and ``value NAME VALUE``: how far apart the figures are.
"""

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from data import in_turn, photograph
from srgan import metrics

BORDER = 4


def skimage_y(sr_image: np.ndarray, hr_image: np.ndarray) -> tuple[float, float]:
    """The same figures by scikit-image, with the settings of Wang et al."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    first, second = (image[BORDER:-BORDER, BORDER:-BORDER].astype(np.float64) @ weights + 16 for image in (sr_image, hr_image))
    # The mean over the window's valid positions, as the literature takes it.
    _, values = structural_similarity(
        first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return peak_signal_noise_ratio(second, first, data_range=255), float(values[5:-5, 5:-5].mean())


def main() -> None:
    """Compare and print the figures last."""
    hr_image = photograph(0)
    sr_image = cv2.GaussianBlur(hr_image, (0, 0), 1.2)
    sides = {
        "ours": lambda: metrics.psnr_ssim_y(sr_image, hr_image, BORDER),
        "skimage": lambda: skimage_y(sr_image, hr_image),
    }
    (psnr, ssim), (expected_psnr, expected_ssim) = sides["ours"](), sides["skimage"]()
    seconds = in_turn(sides, 9)
    height, width = hr_image.shape[:2]
    print(f"PSNR and SSIM of {width}x{height}: {1e3 * seconds['ours']:.0f} ms, skimage {1e3 * seconds['skimage']:.0f} ms")
    print(f"{psnr:.4f} dB and {ssim:.6f}, skimage {expected_psnr:.4f} dB and {expected_ssim:.6f}")
    print(f"ratio psnr_ssim {seconds['skimage'] / seconds['ours']:.2f}")
    print(f"value psnr_difference {abs(psnr - expected_psnr):.2e}")
    print(f"value ssim_difference {abs(ssim - expected_ssim):.2e}")


if __name__ == "__main__":
    main()
