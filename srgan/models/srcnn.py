"""The first network of the field, as a baseline."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from srgan.degradations import bicubic


class SRCNN(nn.Module):
    """Three convolutions on the bicubic enlargement.

    SRCNN 9-1-5 (Dong et al. 2014, https://arxiv.org/abs/1501.00092, sections 3.1 and 4.1, on RGB as in section 4.5): everything happens at
    HR resolution, so it is slow for its size; no residual, so it has to learn to copy its input first.

    Args:
        scale: HR size / LR size.
        features: channels after the first convolution; the second leaves half of them.

    Input `(N, 3, H, W)` in 0..1, output `(N, 3, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64) -> None:
        super().__init__()
        self.scale, self.features = scale, features
        # The scale cannot be read from the weights: the enlargement's kernel, which tells it, is kept with them.
        self.register_buffer("bicubic", bicubic_kernel(scale))
        self.conv1 = nn.Conv2d(3, features, 9, padding=4)
        self.conv2 = nn.Conv2d(features, max(features // 2, 1), 1)
        self.conv3 = nn.Conv2d(max(features // 2, 1), 3, 5, padding=2)

    @property
    def receptive_field(self) -> int:
        """LR pixels that an output pixel depends on, in each direction from its own."""
        return 2 + -(-6 // self.scale)

    @staticmethod
    def config_from(state: dict[str, torch.Tensor]) -> dict[str, Any] | None:
        """The arguments behind a state dict, or None if it is another network's."""
        if "bicubic" not in state or "conv3.weight" not in state:
            return None
        return {"scale": round(state["bicubic"].shape[0] ** 0.5), "features": state["conv1.weight"].shape[0]}

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Enlarge by `scale`."""
        padded = functional.pad(lr_image, (2, 2, 2, 2), mode="replicate")
        kernels = self.bicubic.to(padded.dtype).repeat(3, 1, 1, 1)  # each colour for itself
        image = functional.pixel_shuffle(functional.conv2d(padded, kernels, groups=3), self.scale)
        hidden = functional.relu(self.conv2(functional.relu(self.conv1(image))))
        return self.conv3(hidden)


def bicubic_kernel(scale: int) -> torch.Tensor:
    """Bicubic enlargement (MATLAB's, a = -0.5) as a convolution before a pixel shuffle: `(scale**2, 1, 5, 5)` float32."""
    taps = torch.from_numpy(np.stack([bicubic.enlarging(scale, phase)[0] for phase in range(scale)]))
    return torch.einsum("ph,qw->pqhw", taps, taps).reshape(scale**2, 1, 5, 5)
