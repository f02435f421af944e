"""A plain stack of convolutions for everyday hardware."""

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.models.layers import PReLU, bilinear_taps, channels_of, pass_image_on, unshuffle
from srgan.models.network import Generator, Network, State


class Compact(Generator):
    """Convolutions at LR resolution and one pixel shuffle, added to the nearest-neighbour interpolation of the input.

    The SRVGG design of the small models of Real-ESRGAN (Wang et al. 2021, "Real-ESRGAN", https://arxiv.org/abs/2107.10833, released
    with its code), with the sub-pixel convolution of Shi et al. 2016 (https://arxiv.org/abs/1609.05158, section 3). It has no batch
    normalisation and no operation at HR resolution. Its key names (``body.N``) are those of third-party checkpoints.

    Plain convolutions at full resolution are slow at scale 1. A pixel unshuffle before the first convolution turns blocks of pixels into
    channels, so that the body works at a half or a quarter of the resolution (FFDNet: Zhang et al. 2018,
    https://arxiv.org/abs/1710.04026, section III-B).

    Args:
        scale: HR size / LR size.
        features: channels of the body.
        depth: convolutions of the body, between the first and the last.
        unshuffle: side of the blocks of pixels that become channels. 1 keeps the resolution, as in third-party checkpoints.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, depth: int = 16, *, unshuffle: int = 1, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.features, self.depth, self.unshuffle, self.channels = scale, features, depth, unshuffle, channels
        layers: list[nn.Module] = [nn.Conv2d(channels * unshuffle**2, features, 3, padding=1), PReLU(features)]
        for _ in range(depth):
            layers += [nn.Conv2d(features, features, 3, padding=1), PReLU(features)]
        layers.append(nn.Conv2d(features, channels * (scale * unshuffle) ** 2, 3, padding=1))
        self.body = nn.ModuleList(layers)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the network as bilinear interpolation, or at scale 1 and with `unshuffle` as nearest-neighbour interpolation.

        Kaiming initialisation (He et al. 2015) with two exceptions. The first channels of each layer pass the image on unchanged.
        The last layer turns it into the difference between bilinear and nearest-neighbour interpolation. With random weights alone, a
        short training leaves a grid of the blocks of the nearest-neighbour base.
        """
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, a=0.25)
            layer.get_parameter("bias").zero_()
        if self.unshuffle > 1 or self.scale == 1:
            convolutions[-1].weight.zero_()  # the network begins as nearest-neighbour interpolation
            return
        if self.features < self.channels:
            return
        for layer in convolutions[:-1]:
            pass_image_on(layer, self.channels)
        bilinear = bilinear_taps(self.scale)
        bilinear[:, 1, 1] -= 1
        last = convolutions[-1]
        last.weight *= 0.1
        last.weight[:, : self.channels] = 0
        for colour in range(self.channels):
            last.weight[colour * self.scale**2 : (colour + 1) * self.scale**2, colour] = bilinear

    @property
    def multiple_of(self) -> int:
        """Return the multiple of LR pixels to which the input is padded."""
        return self.unshuffle

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        return (self.depth + 2) * self.unshuffle + self.unshuffle - 1

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Upscale by `scale`."""
        features = unshuffle(lr_image, self.unshuffle)
        for layer in self.body:
            features = layer(features)
        if self.scale * self.unshuffle > 1:
            features = functional.pixel_shuffle(features, self.scale * self.unshuffle)
        if self.unshuffle > 1:
            features = features[..., : self.scale * lr_image.shape[2], : self.scale * lr_image.shape[3]]
        return features + (functional.interpolate(lr_image, scale_factor=self.scale, mode="nearest") if self.scale > 1 else lr_image)


def _detect(state: State) -> dict[str, Any] | None:
    convolutions = [key for key, value in state.items() if key.startswith("body.") and value.ndim == 4]
    if not convolutions or "body.0.weight" not in state:
        return None
    last = max(int(key.split(".")[1]) for key in convolutions)
    features, channels = state["body.0.weight"].shape[:2]
    gray = channels_of(channels)
    colours = gray.get("channels", 3)
    unshuffle = round((channels / colours) ** 0.5)
    scale = round((state[f"body.{last}.weight"].shape[0] / colours) ** 0.5 / unshuffle)
    config = {"scale": scale, "features": features, "depth": len(convolutions) - 2} | gray
    return config | ({"unshuffle": unshuffle} if unshuffle > 1 else {})


class CompactConfig(Component):
    """A plain stack of convolutions (Wang et al. 2021)."""

    features: int = option(32, "channels of the body", ge=1)
    depth: int = option(8, "convolutions of the body", ge=0)
    unshuffle: Literal[1, 2, 4] = option(1, "side of the blocks of pixels that become channels. 2 computes at half the resolution")


COMPACT_NETWORK = Network(
    "compact",
    Compact,
    CompactConfig,
    _detect,
    "compact network of Real-ESRGAN (SRVGG): convolutions and one pixel shuffle, added to nearest-neighbor interpolation",
    scales=(1, 2, 3, 4, 5, 6, 7, 8),
    multiple_of=lambda options: options.unshuffle,
)
