"""The generator of SRGAN."""

import math
import re
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.models.layers import PReLU, Upsampling, channels_of, fold_into_subpixel, input_range, upsampler, upsampling_steps
from srgan.models.network import Generator, Network, State


class _Block(nn.Module):
    """Residual block without activation after the sum (figure 4 of SRGAN, after Gross and Wilber 2016)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(features)
        self.activation = PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(features)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(self.norm1(self.conv1(features)))
        return features + self.norm2(self.conv2(hidden))


class SRResNet(Generator):
    """Residual blocks at LR resolution and upsampling in steps, between two 9x9 convolutions.

    SRResNet, the generator of SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802, section 2.1 and figure 4) has 16 blocks of 64
    channels with batch normalisation and PReLU. These are 1.55 million weights at x4. At scale 1 there is no upsampling, and the result is
    added to the input.

    Args:
        scale: HR size / LR size: 1, 2, 3, 4 or 8.
        features: channels.
        depth: residual blocks.
        upsampling: ``pixelshuffle`` (as in the paper), ``nearest`` or ``transposed``, see `srgan.models.layers.upsampler`. Has no
            effect at scale 1.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    def __init__(
        self, scale: int, features: int = 64, depth: int = 16, upsampling: Upsampling = "pixelshuffle", *, channels: int = 3
    ) -> None:
        super().__init__()
        self.scale, self.features, self.depth, self.channels = scale, features, depth, channels
        self.upsampling: Upsampling = upsampling if scale > 1 else "pixelshuffle"  # so that equal networks have equal descriptions
        self.head = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), PReLU())
        self.body = nn.Sequential(*(_Block(features) for _ in range(depth)))
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.norm = nn.BatchNorm2d(features)
        self.up = nn.Sequential(*(upsampler(upsampling, features, step) for step in upsampling_steps(scale)))
        self.tail = nn.Conv2d(features, channels, 9, padding=4)

    @property
    def tail_layers(self) -> tuple[str, ...]:
        """Return the names of the layers that make the image of the features."""
        return ("up", "tail") if self.scale > 1 else ("tail",)

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        low, high = -4, self.scale - 1 + 4  # input of the last convolution for the pixels of LR pixel 0, then back step by step
        for step in reversed(upsampling_steps(self.scale)):
            low, high = input_range(self.upsampling, step, low, high)
        return max(-low, high) + 2 * self.depth + 1 + 4

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Upscale by `scale`."""
        first = self.head(lr_image)
        features = first + self.norm(self.conv(self.body(first)))
        if self.scale == 1:
            return lr_image + self.tail(features)
        *before, last = (layers for layers in self.up if isinstance(layers, nn.Sequential))
        for upsampling in before:
            features = upsampling(features)
        if not self.optimize_graph or self.upsampling != "pixelshuffle":
            return self.tail(last(features))
        # The last convolution (9x9 at HR resolution) is by far the slowest. The activation has one slope, so it commutes with the shuffle.
        step = upsampling_steps(self.scale)[-1]
        weight, bias, padding = fold_into_subpixel(self.tail, step)
        features = last[2](last[0](features))  # convolution and activation
        return functional.pixel_shuffle(functional.conv2d(features, weight, bias, padding=padding), step)


def _detect(state: State) -> dict[str, Any] | None:
    if "head.0.weight" not in state or "tail.weight" not in state:
        return None
    blocks = {key.split(".")[1] for key in state if key.startswith("body.")}
    ups = [found for key in sorted(state) if (found := re.fullmatch(r"up\.\d+\.([a-z]+)(\d)\.weight", key))]
    return {
        "scale": math.prod(int(up[2]) for up in ups),
        "features": state["head.0.weight"].shape[0],
        "depth": len(blocks),
        "upsampling": ups[0][1] if ups else "pixelshuffle",
    } | channels_of(state["head.0.weight"].shape[1])


class SRResNetConfig(Component):
    """The generator of SRGAN (Ledig et al. 2017)."""

    features: int = option(64, "channels", ge=1)
    depth: int = option(16, "residual blocks", ge=1)
    upsampling: Upsampling = option("pixelshuffle", "pixelshuffle, nearest or transposed")


SRRESNET_NETWORK = Network(
    "srresnet",
    SRResNet,
    SRResNetConfig,
    _detect,
    "generator of SRGAN: residual blocks with batch normalization",
    scales=(1, 2, 3, 4, 8),
)
