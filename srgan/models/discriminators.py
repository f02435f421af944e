"""Networks that tell photographs from generated images."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judges each patch of an image on its own (PatchGAN: Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.2).

    Spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957) in place of batch normalisation: it bounds the
    slope, and real and generated batches do not leak into each other.

    Args:
        features: channels of the first layer; each further layer doubles them, up to eight times.
        depth: layers that halve the resolution.
    """

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        widths = [features * min(2**i, 8) for i in range(depth + 1)]
        # Full resolution first: a layer that halves at once hardly sees the grid that sub-pixel convolutions tend to leave.
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)) for before, after in pairwise(widths))
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Judge `(N, 3, H, W)` in 0..1.

        Returns:
            Logits `(N, 1, H / 2**depth, W / 2**depth)`, above 0 where the patch looks real, and the features after each layer.
        """
        hidden = self.activation(self.first(image * 2 - 1))
        features = [hidden]
        for layer in self.down:
            hidden = self.activation(layer(hidden))
            features.append(hidden)
        return self.last(hidden), features
