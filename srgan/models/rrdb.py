"""The generator of ESRGAN."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from srgan.models.layers import steps_of

_SLOPE = 0.2  # of every LeakyReLU
_RESIDUAL = 0.2  # residuals are scaled down before they are added (ESRGAN, section 3.1): deep networks without normalisation stay stable


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and all before it (ESRGAN, figure 4)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            out = growth if number < 5 else features
            self.add_module(f"conv{number}", nn.Conv2d(features + (number - 1) * growth, out, 3, padding=1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        seen = [features]
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(functional.leaky_relu(convolution(torch.cat(seen, 1)), _SLOPE))
        return features + _RESIDUAL * self.conv5(torch.cat(seen, 1))


class _Block(nn.Module):
    """Residual in residual dense block."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(features, growth)
        self.rdb2 = _DenseBlock(features, growth)
        self.rdb3 = _DenseBlock(features, growth)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + _RESIDUAL * self.rdb3(self.rdb2(self.rdb1(features)))


class RRDB(nn.Module):
    """Residual-in-residual dense blocks, no normalisation, nearest-neighbour upsampling.

    RRDBNet, the generator of ESRGAN (Wang et al. 2018, https://arxiv.org/abs/1809.00219, section 3.1 and figure 4): 23 blocks of 64
    channels, growth 32, 16.70 million weights at x4. The key names are those of the community's checkpoints (``conv_first``,
    ``body.N.rdbM.convK``, ``conv_body``, ``conv_up1``, ...); a single step by 3 is called ``conv_up_x3``, as its shape equals one by 2.

    Args:
        scale: HR size / LR size: 2, 3, 4 or 8.
        features: channels.
        growth: channels that each convolution of a dense block adds.
        depth: blocks.

    Input `(N, 3, H, W)` in 0..1, output `(N, 3, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, growth: int = 32, depth: int = 23) -> None:
        super().__init__()
        self.scale, self.features, self.growth, self.depth = scale, features, growth, depth
        self.recompute = False  # what the blocks computed, in the backward pass, instead of keeping it
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(depth)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        self._ups = ["conv_up_x3"] if scale == 3 else [f"conv_up{number}" for number in range(1, len(steps_of(scale)) + 1)]
        for name in self._ups:
            self.add_module(name, nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)
        for block in self.body.modules():
            if isinstance(block, nn.Conv2d):  # small weights in the blocks (ESRGAN, section 3.1 "smaller initialization")
                nn.init.kaiming_normal_(block.weight)
                block.weight.data *= 0.1
                nn.init.zeros_(block.bias)

    @property
    def receptive_field(self) -> int:
        """LR pixels that an output pixel depends on, in each direction from its own."""
        size, reach = 1, 1 + 15 * self.depth + 1.0
        for step in steps_of(self.scale):
            size *= step
            reach += 1 / size
        return math.ceil(reach + 2 / size)

    @staticmethod
    def config_from(state: dict[str, torch.Tensor]) -> dict[str, Any] | None:
        """The arguments behind a state dict, or None if it is another network's."""
        if "conv_first.weight" not in state or "body.0.rdb1.conv1.weight" not in state:
            return None
        return {
            "scale": 3 if "conv_up_x3.weight" in state else 2 ** sum(f"conv_up{number}.weight" in state for number in (1, 2, 3)),
            "features": state["conv_first.weight"].shape[0],
            "growth": state["body.0.rdb1.conv1.weight"].shape[0],
            "depth": len({key.split(".")[1] for key in state if key.startswith("body.")}),
        }

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Enlarge by `scale`."""
        features = self.conv_first(lr_image)
        trunk = features
        for block in self.body:
            again = self.recompute and torch.is_grad_enabled()
            trunk = checkpoint(block, trunk, use_reentrant=False) if again else block(trunk)
        features = features + self.conv_body(trunk)
        for name, step in zip(self._ups, steps_of(self.scale), strict=True):
            features = functional.interpolate(features, scale_factor=step, mode="nearest")
            features = functional.leaky_relu(self.get_submodule(name)(features), _SLOPE)
        return self.conv_last(functional.leaky_relu(self.conv_hr(features), _SLOPE))
