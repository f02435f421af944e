"""LPIPS: the network, and tiled scoring of whole images."""

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from srgan.data.download import weights
from srgan.metrics.psnr_ssim import crop_border

log = logging.getLogger(__name__)

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
        srgan.data.download.weights.WeightsUnavailable: its weights can neither be found nor downloaded, or the package is not installed.
    """
    backbone = weights.load_weights(LPIPS[name]) if trained else None
    from srgan.utils import compat  # noqa: F401 (must come before lpips, which imports torchvision)

    try:
        import lpips  # isort: skip
    except ImportError as error:
        raise weights.WeightsUnavailable(f"the lpips package cannot be imported ({error}); install it with: pip install lpips") from error

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
        except weights.WeightsUnavailable as error:
            log.warning("LPIPS (%s) is unavailable: %s; %s", name, error, otherwise)
    return found
