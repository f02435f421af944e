"""A plain stack of convolutions for everyday hardware."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Compact(nn.Module):
    """Convolutions at LR resolution, one pixel shuffle, added to the nearest-neighbour enlargement of the input.

    The SRVGG design of Real-ESRGAN's small models (Wang et al. 2021, "Real-ESRGAN", https://arxiv.org/abs/2107.10833, released with
    its code), on the sub-pixel convolution of Shi et al. 2016 (https://arxiv.org/abs/1609.05158, section 3). No batch
    normalisation, no operation at HR resolution: cheap, and its key names (``body.N``) are the community's.

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
        """Start as bilinear enlargement.

        Kaiming initialisation (He et al. 2015), except that the first three channels of each layer pass the image on unchanged, and
        that the last layer turns it into the difference between bilinear and nearest-neighbour enlargement. A random start has to
        unlearn the blocks of the nearest-neighbour base first, and short trainings keep a grid of them.
        """
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, a=0.25)
            nn.init.zeros_(layer.bias)
        if self.features < 3:
            return
        for layer in convolutions[:-1]:
            layer.weight[:3] = 0
            layer.weight[range(3), range(3), 1, 1] = 1
        # Sub-pixel i of s lies (i + 1/2) / s - 1/2 from the pixel's centre; its bilinear weights on the left, middle, right pixel:
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
        """LR pixels that an output pixel depends on, in each direction from its own."""
        return self.depth + 2

    @staticmethod
    def config_from(state: dict[str, torch.Tensor]) -> dict[str, Any] | None:
        """The arguments behind a state dict, or None if it is another network's."""
        convolutions = [key for key, value in state.items() if key.startswith("body.") and value.ndim == 4]
        if not convolutions or "body.0.weight" not in state:
            return None
        last = max(int(key.split(".")[1]) for key in convolutions)
        scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
        return {"scale": scale, "features": state["body.0.weight"].shape[0], "depth": len(convolutions) - 2}

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Enlarge by `scale`."""
        features = lr_image
        for layer in self.body:
            features = layer(features)
        return functional.pixel_shuffle(features, self.scale) + functional.interpolate(lr_image, scale_factor=self.scale, mode="nearest")
