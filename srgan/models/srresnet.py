"""The generator of SRGAN."""

import math
import re
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srgan.models.layers import Upsampling, before_shuffle, source, steps_of, upsampler


class _Block(nn.Module):
    """Residual block (SRGAN, figure 4; the block of Gross and Wilber 2016: no activation after the sum)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(features)
        self.activation = nn.PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(features)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = self.activation(self.norm1(self.conv1(features)))
        return features + self.norm2(self.conv2(hidden))


class SRResNet(nn.Module):
    """Residual blocks at LR resolution, then one upsampling after the other, between two 9x9 convolutions.

    SRResNet, the generator of SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802, section 2.1 and figure 4): 16 blocks of 64
    channels with batch normalisation and PReLU, 1.55 million weights at x4.

    Args:
        scale: HR size / LR size: 2, 3, 4 or 8.
        features: channels.
        depth: residual blocks.
        upsampling: ``pixelshuffle`` (the paper's), ``nearest`` or ``transposed``, see `srgan.models.layers.upsampler`.

    Input `(N, 3, H, W)` in 0..1, output `(N, 3, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, depth: int = 16, upsampling: Upsampling = "pixelshuffle") -> None:
        super().__init__()
        self.scale, self.features, self.depth, self.upsampling = scale, features, depth, upsampling
        self.plain = False  # compute the last convolution as it is written, after the pixel shuffle
        self.head = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(_Block(features) for _ in range(depth)))
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.norm = nn.BatchNorm2d(features)
        self.up = nn.Sequential(*(upsampler(upsampling, features, step) for step in steps_of(scale)))
        self.tail = nn.Conv2d(features, 3, 9, padding=4)

    @property
    def receptive_field(self) -> int:
        """LR pixels that an output pixel depends on, in each direction from its own."""
        low, high = -4, self.scale - 1 + 4  # what the last convolution sees of the pixels that LR pixel 0 becomes; then back, step by step
        for step in reversed(steps_of(self.scale)):
            low, high = source(self.upsampling, step, low, high)
        return max(-low, high) + 2 * self.depth + 1 + 4

    @staticmethod
    def config_from(state: dict[str, torch.Tensor]) -> dict[str, Any] | None:
        """The arguments behind a state dict, or None if it is another network's."""
        if "head.0.weight" not in state or "tail.weight" not in state:
            return None
        blocks = {key.split(".")[1] for key in state if key.startswith("body.")}
        ups = [found for key in sorted(state) if (found := re.fullmatch(r"up\.\d+\.([a-z]+)(\d)\.weight", key))]
        return {
            "scale": math.prod(int(up[2]) for up in ups),
            "features": state["head.0.weight"].shape[0],
            "depth": len(blocks),
            "upsampling": ups[0][1],
        }

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Enlarge by `scale`."""
        first = self.head(lr_image)
        features = first + self.norm(self.conv(self.body(first)))
        *before, last = self.up
        for upsampling in before:
            features = upsampling(features)
        if self.plain or self.upsampling != "pixelshuffle":
            return self.tail(last(features))
        # The last convolution, 9x9 at HR resolution, is the slowest by far. The activation, one slope for all, does not mind the shuffle.
        step = last.shuffle.upscale_factor
        weight, bias, padding = before_shuffle(self.tail, step)
        features = last.activation(last[0](features))
        return functional.pixel_shuffle(functional.conv2d(features, weight, bias, padding=padding), step)
