"""LPIPS: the network, and tiled scoring of whole images."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srgan.data.download import weights
from srgan.metrics.metric import Metric, Sample, Scorer
from srgan.metrics.psnr_ssim import crop_border

LPIPS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}  # network -> its weights in the catalogue

_STRIDES = {"alex": (4, 8, 16, 16, 16), "vgg": (1, 2, 4, 8, 16), "squeeze": (2, 4, 8, 16, 16, 16, 16)}  # pixels between features, by layer

_TILE, _CONTEXT = 768, 128  # pixels: multiples of the strides. The context exceeds the receptive field of a feature.


def lpips_network(name: str, trained: bool = True) -> torch.nn.Module:
    """Return LPIPS v0.1 (Zhang et al. 2018, https://arxiv.org/abs/1801.03924) of the `lpips` package, frozen.

    The network takes two `(N, 3, H, W)` batches in -1..1 and returns `(N, 1, 1, 1)`.

    Args:
        name: network whose features are compared, a key of `LPIPS`.
        trained: False for random weights, to measure time and memory.

    Raises:
        srgan.data.download.weights.WeightsUnavailable: the weights cannot be found or downloaded, or the package is not installed.
    """
    backbone = weights.load_weights(LPIPS[name]) if trained else None
    # Imported here: the import takes two seconds and the core runs without the package.
    from srgan.utils import compat  # noqa: F401 (must come before lpips, which imports torchvision)

    try:
        import lpips  # isort: skip
    except ImportError as error:
        raise weights.WeightsUnavailable(f"failed to import the lpips package ({error}). Install it with: pip install lpips") from error

    # The weights of the backbone are loaded by this project: lpips would download them without a timeout.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips uses deprecated arguments of torchvision
        network = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).eval().requires_grad_(False)
    if backbone is not None:
        state = network.net.state_dict()  # named slice2.3.weight where torchvision has features.3.weight
        network.net.load_state_dict({key: backbone["features" + key[key.index(".") :]] for key in state})
    return network


class Lpips:
    """Score LPIPS of whole images tile by tile. Lower is better. Raises the errors of `lpips_network`.

    Args:
        name: network whose features are compared, a key of `LPIPS`.
        device: where it computes.
    """

    def __init__(self, name: str = "alex", device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._network = lpips_network(name).to(self._device)
        self._strides = _STRIDES[name]

    @torch.inference_mode()
    def __call__(self, sr_image: np.ndarray, hr_image: np.ndarray, border: int = 0) -> float:
        """Return the distance of two `(H, W, 3)` uint8 images after a border is cut from both."""
        images = [crop_border(image, border) for image in (sr_image, hr_image)]
        height, width = images[0].shape[:2]
        totals, counts = [0.0] * len(self._strides), [0] * len(self._strides)
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                above, before = max(top - _CONTEXT, 0), max(left - _CONTEXT, 0)
                seen = slice(above, top + _TILE + _CONTEXT), slice(before, left + _TILE + _CONTEXT)
                tiles = [torch.from_numpy(np.ascontiguousarray(image[seen])).to(self._device) for image in images]
                for layer, map_ in enumerate(self._maps(*(tile.permute(2, 0, 1)[None].float() / 127.5 - 1 for tile in tiles))):
                    # The context is cut from each map. The last tile of a row or column keeps all that follows.
                    stride = self._strides[layer]
                    first, second = (top - above) // stride, (left - before) // stride
                    down = first + _TILE // stride if top + _TILE < height else None
                    across = second + _TILE // stride if left + _TILE < width else None
                    own = map_[first:down, second:across]
                    totals[layer] += float(own.cpu().sum(dtype=torch.float64))  # Apple's GPUs have no float64
                    counts[layer] += own.numel()
        return sum(total / count for total, count in zip(totals, counts, strict=True))

    def _maps(self, first: Tensor, second: Tensor) -> Sequence[Tensor]:
        """Return the map of distances of each layer, `(h, w)`. LPIPS is the sum of the means of these maps (equation 1 of the paper)."""
        network: Any = self._network
        layers = [network.net(network.scaling_layer(image)) for image in (first, second)]
        maps = []
        for layer, (a, b) in enumerate(zip(*layers, strict=True)):
            maps.append(network.lins[layer]((_normalized(a) - _normalized(b)).square_())[0, 0])
        return maps


def _normalized(features: Tensor) -> Tensor:
    """Return features of unit length over the channels, as ``lpips.normalize_tensor`` does."""
    return features / (torch.sqrt(torch.sum(features**2, dim=1, keepdim=True)) + 1e-10)


def _load(network: str, device: torch.device) -> Scorer:
    lpips = Lpips(network, device)

    def score(sample: Sample) -> float:
        return lpips(sample.sr_image, sample.hr_rgb)

    return score


def _metric(name: str, label: str, network: str, title: str, **options: bool | int) -> Metric:
    return Metric(
        name,
        label,
        f"LPIPS 0.1 with {title} on the whole image, by the package `lpips`",
        better="lower",
        digits=4,
        load=partial(_load, network),
        lpips_network=network,
        **options,  # type: ignore[arg-type]
    )


LPIPS_ALEX = _metric("lpips", "LPIPS", "alex", "AlexNet", validation=True, in_cards=True, rank=1)
LPIPS_VGG = _metric("lpips_vgg", "LPIPS-VGG", "vgg", "VGG16")
LPIPS_SQUEEZE = _metric("lpips_squeeze", "LPIPS-Squeeze", "squeeze", "SqueezeNet")
