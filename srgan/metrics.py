"""PSNR, SSIM and LPIPS by the protocol of the super-resolution literature, and figures for what they do not see.

Images are compared after rounding to 8 bits and cutting a border of `scale` pixels; the `_y` figures are on luma as MATLAB's
``rgb2ycbcr`` makes it (BT.601, 16..235), the `_rgb` figures on the colours. LPIPS sees the whole image, as the papers' figures did.
Images of any size are worked through in strips and tiles, so memory hardly grows with them.
"""

import logging
import math
import warnings
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srgan.data import pretrained
from srgan.data.images import as_rgb

log = logging.getLogger(__name__)

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # Wang et al. 2004, "Image quality assessment", section III.B
_WINDOW, _SIGMA = 11, 1.5
_GAUSSIAN = cv2.getGaussianKernel(_WINDOW, _SIGMA, cv2.CV_32F)
_LUMA = np.array([[65.481 / 255, 128.553 / 255, 24.966 / 255, 16]], np.float32)
_NO_EDGE = 0.01  # levels a pixel: of two flat images, none is the sharper
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


# -- what PSNR and LPIPS hardly see ----------------------------------------------------------------------------------------


def color_shift(sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """The largest difference of the mean of a colour, in 8-bit levels, of `(N, 3, H, W)` images in 0..1; a scalar."""
    return (sr_image - hr_image).mean(dim=(0, 2, 3)).abs().max() * 255


def checkerboard(image: Tensor, scale: int) -> Tensor:
    """Strength of a fixed grid in `(N, 3, H, W)` images in 0..1: standard deviation in 8-bit levels, a scalar.

    Each pixel minus the mean of its neighbours, averaged over all positions of the grid's `scale` x `scale` cell: what photographs show
    there cancels out, what the upsampling stamps on every cell remains (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
    """
    cells, count = _cells(image, scale)
    return cells.div(max(count, 1)).std(correction=0) * 255


def _cells(image: Tensor, scale: int) -> tuple[Tensor, int]:
    """The details of all cells added up, `(scale, scale)`, and how many they are; a border of `scale` does not count."""
    grey = image.mean(dim=1, keepdim=True)
    detail = (grey - functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False))[..., scale:-scale, scale:-scale]
    height, width = (size // scale * scale for size in detail.shape[2:])
    cells = detail[..., :height, :width].reshape(len(detail), height // scale, scale, width // scale, scale)
    return cells.sum(dim=(0, 1, 3)), cells.numel() // scale**2


def look(sr_image: np.ndarray, hr_image: np.ndarray, scale: int) -> dict[str, float]:
    """What an `(H, W, 3)` uint8 image looks like beside its original.

    - `color_shift`: the largest difference of the mean of a colour, in 8-bit levels.
    - `checkerboard`: strength of a grid that repeats every `scale` pixels, see the function of that name.
    - `sharpness`: mean gradient of the luma, as a share of the original's: below 1 blurred, above 1 over-sharpened.
    """
    shift = np.abs(np.subtract(cv2.mean(sr_image), cv2.mean(hr_image))).max()
    cells, count = torch.zeros(scale, scale, dtype=torch.float64), 0
    step = _ROWS * scale
    for top in range(0, sr_image.shape[0] - 2 * scale, step):
        strip = torch.from_numpy(sr_image[top : top + step + 2 * scale]).permute(2, 0, 1)[None].float().div_(255)
        sums, number = _cells(strip, scale)
        cells, count = cells + sums, count + number
    return {
        "color_shift": float(shift),
        "checkerboard": float(cells.div(max(count, 1)).std(correction=0) * 255),
        "sharpness": (_gradient(sr_image) + _NO_EDGE) / (_gradient(hr_image) + _NO_EDGE),
    }


def _gradient(image: np.ndarray) -> float:
    """Mean strength of the edges of an `(H, W, 3)` uint8 image, by central differences of its luma."""
    total = 0.0
    for top in range(1, image.shape[0] - 1, _ROWS):
        y = luma(image[top - 1 : top + _ROWS + 1])
        across, down = y[1:-1, 2:] - y[1:-1, :-2], y[2:, 1:-1] - y[:-2, 1:-1]
        total += float(np.sqrt(across * across + down * down).sum(dtype=np.float64))
    return total / 2 / max((image.shape[0] - 2) * (image.shape[1] - 2), 1)


# -- LPIPS -----------------------------------------------------------------------------------------------------------------

LPIPS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}  # network -> its weights in the catalogue
_STRIDES = {"alex": (4, 8, 16, 16, 16), "vgg": (1, 2, 4, 8, 16), "squeeze": (2, 4, 8, 16, 16, 16, 16)}  # pixels between features, by layer
_TILE, _CONTEXT = 768, 128  # pixels; multiples of the strides, and more than half of what a feature sees


def lpips_network(name: str, trained: bool = True) -> torch.nn.Module:
    """LPIPS v0.1 (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) of the `lpips` package, frozen.

    It takes two `(N, 3, H, W)` batches in -1..1 and returns `(N, 1, 1, 1)`.

    Args:
        name: of the network whose features are compared, of `LPIPS`.
        trained: False for a network that knows nothing, to see what it takes in time and memory.

    Raises:
        srgan.data.pretrained.WeightsUnavailable: its weights can neither be found nor downloaded, or the package is not installed.
    """
    backbone = pretrained.load_weights(LPIPS[name]) if trained else None
    from srgan import torchvision_import  # noqa: F401 (must come before lpips, which imports torchvision)

    try:
        import lpips  # isort: skip
    except ImportError as error:
        raise pretrained.WeightsUnavailable(
            f"the lpips package cannot be imported ({error}); install it with: pip install lpips"
        ) from error

    # The backbone's weights are ours to find: left to itself, lpips downloads them without a time limit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips speaks to torchvision in its old way
        network = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).eval().requires_grad_(False)
    if backbone is not None:
        state = network.net.state_dict()  # named slice2.3.weight where torchvision has features.3.weight
        network.net.load_state_dict({key: backbone["features" + key[key.index(".") :]] for key in state})
    return network


class Lpips:
    """Scores LPIPS. Lower is better. Raises what `lpips_network` raises.

    Args:
        name: of the network whose features are compared, of `LPIPS`.
        device: where it computes.
    """

    def __init__(self, name: str = "alex", device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._network = lpips_network(name).to(self._device)
        self._strides = _STRIDES[name]

    @torch.inference_mode()
    def __call__(self, sr_image: np.ndarray, hr_image: np.ndarray, border: int = 0) -> float:
        """Distance of two `(H, W, 3)` uint8 images, a border cut from both."""
        images = [crop_border(image, border) for image in (sr_image, hr_image)]
        height, width = images[0].shape[:2]
        totals, counts = [0.0] * len(self._strides), [0] * len(self._strides)
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                above, before = max(top - _CONTEXT, 0), max(left - _CONTEXT, 0)
                seen = slice(above, top + _TILE + _CONTEXT), slice(before, left + _TILE + _CONTEXT)
                tiles = [torch.from_numpy(np.ascontiguousarray(image[seen])).to(self._device) for image in images]
                for layer, map_ in enumerate(self._maps(*(tile.permute(2, 0, 1)[None].float() / 127.5 - 1 for tile in tiles))):
                    # Of each layer's map, the part that belongs to the tile itself; the last tile has all that follows.
                    stride = self._strides[layer]
                    first, second = (top - above) // stride, (left - before) // stride
                    down = first + _TILE // stride if top + _TILE < height else None
                    across = second + _TILE // stride if left + _TILE < width else None
                    own = map_[first:down, second:across]
                    totals[layer] += float(own.cpu().sum(dtype=torch.float64))  # Apple's GPUs have no float64
                    counts[layer] += own.numel()
        return sum(total / count for total, count in zip(totals, counts, strict=True))

    def _maps(self, first: Tensor, second: Tensor) -> Sequence[Tensor]:
        """Where the images differ, `(h, w)` for each layer; LPIPS is the sum of these maps' means (equation 1 of the paper)."""
        import lpips

        network = self._network
        layers = [network.net(network.scaling_layer(image)) for image in (first, second)]
        maps = []
        for layer, (a, b) in enumerate(zip(*layers, strict=True)):
            difference = lpips.normalize_tensor(a) - lpips.normalize_tensor(b)
            maps.append(network.lins[layer](difference.square_())[0, 0])
        return maps


def open_lpips(names: Sequence[str], otherwise: str, device: torch.device | None = None) -> dict[str, Lpips]:
    """The LPIPS scorers by the names of their networks; of one whose weights cannot be had, a warning is left.

    Args:
        names: of the networks that are wanted.
        otherwise: what follows from the absence of one, for the warning.
        device: where they compute.
    """
    found = {}
    for name in names:
        try:
            found[name] = Lpips(name, device)
        except pretrained.WeightsUnavailable as error:
            log.warning("LPIPS (%s) is unavailable: %s; %s", name, error, otherwise)
    return found
