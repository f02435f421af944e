"""A plain stack of convolutions for everyday hardware."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.models.network import Generator, Network, State


class Compact(Generator):
    """Convolutions at LR resolution and one pixel shuffle, added to the nearest-neighbour interpolation of the input.

    The SRVGG design of the small models of Real-ESRGAN (Wang et al. 2021, "Real-ESRGAN", https://arxiv.org/abs/2107.10833, released
    with its code), with the sub-pixel convolution of Shi et al. 2016 (https://arxiv.org/abs/1609.05158, section 3). It has no batch
    normalisation and no operation at HR resolution. Its key names (``body.N``) are those of third-party checkpoints.

    Args:
        scale: HR size / LR size.
        features: channels of the body.
        depth: convolutions of the body, between the first and the last.

    Input `(N, 3, H, W)` in 0..1, output `(N, 3, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, depth: int = 16) -> None:
        super().__init__()
        self.scale, self.features, self.depth = scale, features, depth
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(depth):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale**2, 3, padding=1))
        self.body = nn.ModuleList(layers)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the network as bilinear interpolation.

        Kaiming initialisation (He et al. 2015) with two exceptions. The first three channels of each layer pass the image on unchanged.
        The last layer turns it into the difference between bilinear and nearest-neighbour interpolation. With random weights alone, a
        short training leaves a grid of the blocks of the nearest-neighbour base.
        """
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, a=0.25)
            layer.get_parameter("bias").zero_()
        if self.features < 3:
            return
        for layer in convolutions[:-1]:
            layer.weight[:3] = 0
            layer.weight[range(3), range(3), 1, 1] = 1
        # Sub-pixel i of s is (i + 1/2) / s - 1/2 from the centre of the pixel. Its bilinear weights on the left, middle, right pixel:
        offset = (torch.arange(self.scale) + 0.5) / self.scale - 0.5
        taps = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], dim=1)
        bilinear = torch.einsum("ph,qw->pqhw", taps, taps).flatten(0, 1)
        bilinear[:, 1, 1] -= 1
        last = convolutions[-1]
        last.weight *= 0.1
        last.weight[:, :3] = 0
        for colour in range(3):
            last.weight[colour * self.scale**2 : (colour + 1) * self.scale**2, colour] = bilinear

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        return self.depth + 2

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Upscale by `scale`."""
        features = lr_image
        for layer in self.body:
            features = layer(features)
        return functional.pixel_shuffle(features, self.scale) + functional.interpolate(lr_image, scale_factor=self.scale, mode="nearest")


def _detect(state: State) -> dict[str, Any] | None:
    convolutions = [key for key, value in state.items() if key.startswith("body.") and value.ndim == 4]
    if not convolutions or "body.0.weight" not in state:
        return None
    last = max(int(key.split(".")[1]) for key in convolutions)
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    return {"scale": scale, "features": state["body.0.weight"].shape[0], "depth": len(convolutions) - 2}


class CompactConfig(Component):
    """A plain stack of convolutions (Wang et al. 2021)."""

    features: int = option(32, "channels of the body", ge=1)
    depth: int = option(8, "convolutions of the body", ge=0)


COMPACT_NETWORK = Network(
    "compact",
    Compact,
    CompactConfig,
    _detect,
    "compact network of Real-ESRGAN (SRVGG): convolutions and one pixel shuffle, added to nearest-neighbor interpolation",
    scales=(2, 3, 4, 5, 6, 7, 8),
)
