"""The first convolutional network for super-resolution, as a baseline."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.degradations import bicubic
from srgan.models.layers import channels_of
from srgan.models.network import Generator, Network, State


class SRCNN(Generator):
    """Three convolutions on the bicubic interpolation of the input.

    SRCNN 9-1-5 (Dong et al. 2014, https://arxiv.org/abs/1501.00092, sections 3.1 and 4.1, on RGB as in section 4.5). All convolutions run
    at HR resolution, so the network is slow for its size. It has no residual connection, so it first learns to copy its input. Only at
    scale 1, where the input is close to the result, it is added to its input.

    Args:
        scale: HR size / LR size.
        features: channels after the first convolution. The second convolution halves them.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, *, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.features, self.channels = scale, features, channels
        # The kernel is part of the state dict, as the scale does not follow from the weights.
        self.register_buffer("bicubic", bicubic_kernel(scale))
        self.conv1 = nn.Conv2d(channels, features, 9, padding=4)
        self.conv2 = nn.Conv2d(features, max(features // 2, 1), 1)
        self.conv3 = nn.Conv2d(max(features // 2, 1), channels, 5, padding=2)

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        return 6 if self.scale == 1 else 2 + -(-6 // self.scale)

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Upscale by `scale`."""
        if self.scale == 1:
            return lr_image + self._convolutions(lr_image)
        padded = functional.pad(lr_image, (2, 2, 2, 2), mode="replicate")
        kernels = self.get_buffer("bicubic").to(padded.dtype).repeat(self.channels, 1, 1, 1)  # each colour channel separately
        return self._convolutions(functional.pixel_shuffle(functional.conv2d(padded, kernels, groups=self.channels), self.scale))

    def _convolutions(self, image: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.conv2(functional.relu(self.conv1(image))))
        return self.conv3(hidden)


def bicubic_kernel(scale: int) -> torch.Tensor:
    """Return bicubic interpolation (as in MATLAB, a = -0.5) as a convolution before a pixel shuffle: `(scale**2, 1, 5, 5)` float32."""
    taps = torch.from_numpy(np.stack([bicubic.upscale_weights(scale, phase)[0] for phase in range(scale)]))
    return torch.einsum("ph,qw->pqhw", taps, taps).reshape(scale**2, 1, 5, 5)


def _detect(state: State) -> dict[str, Any] | None:
    if "bicubic" not in state or "conv3.weight" not in state:
        return None
    features, channels = state["conv1.weight"].shape[:2]
    return {"scale": round(state["bicubic"].shape[0] ** 0.5), "features": features} | channels_of(channels)


class SRCNNConfig(Component):
    """Three convolutions on the bicubic interpolation (Dong et al. 2014)."""

    features: int = option(64, "channels after the first convolution", ge=1)


SRCNN_NETWORK = Network(
    "srcnn",
    SRCNN,
    SRCNNConfig,
    _detect,
    "9-1-5 convolutions on the bicubic image",
    scales=(1, 2, 3, 4, 5, 6, 7, 8),
)
