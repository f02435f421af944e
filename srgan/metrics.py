"""PSNR, SSIM and LPIPS by the protocol of the super-resolution literature.

Images are compared after rounding to 8 bits and cutting a border of `scale` pixels; the `_y` figures are on luma as MATLAB's
``rgb2ycbcr`` makes it (BT.601, 16..235), the `_rgb` figures on the colours.
"""

import logging
import math
import warnings

import cv2
import numpy as np
import torch

from srgan.data import fetch
from srgan.data.images import as_rgb

log = logging.getLogger(__name__)

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, "Image quality assessment", section III.B
_WINDOW, _SIGMA = 11, 1.5
_GAUSSIAN = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_32F)


def luma(image: np.ndarray) -> np.ndarray:
    """Y of an `(H, W, 3)` uint8 RGB image: BT.601 in 16..235, `(H, W)` float32, not rounded."""
    return image.astype(np.float32) @ (np.array([65.481, 128.553, 24.966], np.float32) / 255) + 16


def grey(image: np.ndarray) -> np.ndarray:
    """An `(H, W, 3)` uint8 RGB image as greyscale, as image files hold it: BT.601 in 0..255, `(H, W)` uint8."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays in 0..255; infinite for equal ones."""
    error = float(np.mean(np.square(first.astype(np.float32) - second.astype(np.float32)), dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two `(H, W)` or `(H, W, C)` arrays in 0..255, the mean over positions and channels.

    Wang et al. 2004: Gaussian window of 11x11 and sigma 1.5, only where it lies inside the image.
    """
    if min(first.shape[:2]) < _WINDOW:
        raise ValueError(f"SSIM needs at least {_WINDOW}x{_WINDOW} pixels, not {first.shape[0]}x{first.shape[1]}")
    # Shifted around zero, so that float32 holds the variances; SSIM's own means get the shift back.
    a, b = first.astype(np.float32) - 128, second.astype(np.float32) - 128
    mean_a, mean_b = _blur(a), _blur(b)
    # Four filters suffice: only the sum of the two variances occurs in the formula.
    variances = _blur(a * a + b * b) - mean_a**2 - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    mean_a += 128
    mean_b += 128
    numerator = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return float(np.mean(numerator / ((mean_a**2 + mean_b**2 + _C1) * (variances + _C2)), dtype=np.float64))


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
    to_y = luma if hr_image.ndim == 3 else grey
    sr_luma, hr_luma = (to_y(crop_border(image, border)) for image in (sr_image, hr_image))
    return psnr(sr_luma, hr_luma), ssim(sr_luma, hr_luma)


def psnr_ssim(sr_image: np.ndarray, hr_image: np.ndarray, border: int) -> dict[str, float]:
    """`psnr_y`, `ssim_y`, `psnr_rgb`, `ssim_rgb` of an `(H, W, 3)` uint8 image and its original, which may be greyscale, `(H, W)`."""
    psnr_y, ssim_y = psnr_ssim_y(sr_image, hr_image, border)
    sr_cut, hr_cut = crop_border(sr_image, border), crop_border(as_rgb(hr_image), border)
    return {"psnr_y": psnr_y, "ssim_y": ssim_y, "psnr_rgb": psnr(sr_cut, hr_cut), "ssim_rgb": ssim(sr_cut, hr_cut)}


def lpips_network(name: str, trained: bool = True) -> torch.nn.Module:
    """LPIPS v0.1 (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) of the `lpips` package, frozen.

    It takes two `(N, 3, H, W)` batches in -1..1 and returns `(N, 1, 1, 1)`.

    Args:
        name: of the network whose features are compared: ``alex`` or ``squeeze``.
        trained: False for a network that knows nothing, to see what it takes in time and memory.

    Raises:
        srgan.data.fetch.WeightsUnavailable: its weights can neither be found nor downloaded, or the package is not installed.
    """
    backbone = fetch.load_weights({"alex": "alexnet", "squeeze": "squeezenet"}[name]) if trained else None
    from srgan import torchvision_import  # noqa: F401 (must come before lpips, which imports torchvision)

    try:
        import lpips  # isort: skip
    except ImportError as error:
        raise fetch.WeightsUnavailable(f"the lpips package cannot be imported ({error}); install it with: pip install lpips") from error

    # The backbone's weights are ours to find: left to itself, lpips downloads them without a time limit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips speaks to torchvision in its old way
        network = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).eval().requires_grad_(False)
    if backbone is not None:
        state = network.net.state_dict()  # named slice2.3.weight where torchvision has features.3.weight
        network.net.load_state_dict({key: backbone["features" + key[key.index(".") :]] for key in state})
    return network


class Lpips:
    """Scores LPIPS on AlexNet. Lower is better. Raises what `lpips_network` raises.

    Args:
        device: where it computes.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._network = lpips_network("alex").to(self._device)

    @torch.inference_mode()
    def __call__(self, sr_image: np.ndarray, hr_image: np.ndarray, border: int = 0) -> float:
        """Distance of two `(H, W, 3)` uint8 images, a border cut from both."""
        first, second = (
            torch.from_numpy(np.ascontiguousarray(crop_border(image, border))).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1
            for image in (sr_image, hr_image)
        )
        return float(self._network(first, second))


def open_lpips(wanted: bool, otherwise: str, device: torch.device | None = None) -> Lpips | None:
    """The LPIPS scorer; None if it is not wanted, or, with one warning, if its weights cannot be had.

    Args:
        wanted: whether to score at all.
        otherwise: what follows from its absence, for the warning.
        device: where it computes.
    """
    if not wanted:
        return None
    try:
        return Lpips(device)
    except fetch.WeightsUnavailable as error:
        log.warning("LPIPS is unavailable: %s; %s", error, otherwise)
        return None
