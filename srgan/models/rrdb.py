"""The generator of ESRGAN."""

import math
import re
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.models.layers import channels_of, pass_image_on, recomputed, upsampling_steps
from srgan.models.network import Generator, Network, State
from srgan.utils.errors import SrganError

_SLOPE = 0.2  # of every LeakyReLU
_RESIDUAL = 0.2  # factor of residuals, which keeps deep networks without normalisation stable (ESRGAN, section 3.1)


class _DenseBlock(nn.Module):
    """Five convolutions. The input of each is the input of the block and the output of all before it (ESRGAN, figure 4)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            nn.Conv2d(features + number * growth, growth if number < 4 else features, 3, padding=1) for number in range(5)
        )

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


class RRDB(Generator):
    """Residual-in-residual dense blocks without normalisation and with nearest-neighbour upsampling.

    RRDBNet, the generator of ESRGAN (Wang et al. 2018, https://arxiv.org/abs/1809.00219, section 3.1 and figure 4) has 23 blocks of 64
    channels and a growth of 32. These are 16.70 million weights at x4. The key names are those of third-party checkpoints (``conv_first``,
    ``body.N.rdbM.convK``, ``conv_body``, ``conv_up1``, ...). A single step by 3 has the name ``conv_up_x3``, as its shape is that of 2. At
    scale 1 there is no upsampling, as in third-party checkpoints, and the network begins with its input.

    Args:
        scale: HR size / LR size: 1, 2, 3, 4 or 8.
        features: channels.
        growth: channels that each convolution of a dense block adds.
        depth: blocks.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    def __init__(self, scale: int, features: int = 64, growth: int = 32, depth: int = 23, *, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.features, self.growth, self.depth, self.channels = scale, features, growth, depth, channels
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(depth)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        self._ups = ["conv_up_x3"] if scale == 3 else [f"conv_up{number}" for number in range(1, len(upsampling_steps(scale)) + 1)]
        for name in self._ups:
            self.add_module(name, nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        for block in self.body.modules():
            if isinstance(block, nn.Conv2d):  # small weights in the blocks (ESRGAN, section 3.1 "smaller initialization")
                nn.init.kaiming_normal_(block.weight)
                block.weight.data *= 0.1
                nn.init.zeros_(block.get_parameter("bias"))
        if scale == 1 and features >= channels:
            self._pass_image_on()

    @torch.no_grad()
    def _pass_image_on(self) -> None:
        """Let the first channels pass the image on, as in `Compact`: the blocks add nothing to them and the rest adds little."""
        channels = self.channels
        pass_image_on(self.conv_first, channels)
        self.conv_body.weight[:channels] = 0
        self.conv_body.get_parameter("bias")[:channels] = 0
        pass_image_on(self.conv_hr, channels)
        self.conv_last.weight *= 0.1
        self.conv_last.get_parameter("bias").zero_()
        self.conv_last.weight[:, :channels] = 0
        self.conv_last.weight[range(channels), range(channels), 1, 1] = 1

    @property
    def tail_layers(self) -> tuple[str, ...]:
        """Return the names of the layers that make the image of the features."""
        return (*self._ups, "conv_hr", "conv_last")

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        size, reach = 1, 1 + 15 * self.depth + 1.0
        for step in upsampling_steps(self.scale):
            size *= step
            reach += 1 / size
        return math.ceil(reach + 2 / size)

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Upscale by `scale`."""
        features = self.conv_first(lr_image)
        trunk = features
        for block in self.body:
            again = self.activation_checkpointing and torch.is_grad_enabled()
            trunk = recomputed(block, trunk) if again else block(trunk)
        features = features + self.conv_body(trunk)
        for name, step in zip(self._ups, upsampling_steps(self.scale), strict=True):
            features = functional.interpolate(features, scale_factor=step, mode="nearest")
            features = functional.leaky_relu(self.get_submodule(name)(features), _SLOPE)
        return self.conv_last(functional.leaky_relu(self.conv_hr(features), _SLOPE))


def _detect(state: State) -> dict[str, Any] | None:
    if "conv_first.weight" not in state or "body.0.rdb1.conv1.weight" not in state:
        return None
    return {
        "scale": 3 if "conv_up_x3.weight" in state else 2 ** sum(f"conv_up{number}.weight" in state for number in (1, 2, 3)),
        "features": state["conv_first.weight"].shape[0],
        "growth": state["body.0.rdb1.conv1.weight"].shape[0],
        "depth": len({key.split(".")[1] for key in state if key.startswith("body.")}),
    } | channels_of(state["conv_first.weight"].shape[1])


# -- keys of older releases ------------------------------------------------------------------------------------------------

# Names of the code published with the paper -> current names.
_PUBLISHED = (
    (r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)", r"body.\1.rdb\2.conv\3"),
    (r"trunk_conv", "conv_body"),
    (r"upconv(\d)", r"conv_up\1"),
    (r"HRconv", "conv_hr"),
)
_BLOCK = (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", r"body.\1.rdb\2.conv\3")


def _convert_keys(state: State, scale: int | None) -> State:
    """Rename the keys of the first releases of ESRGAN (``model.1.sub.0.RDB1.conv1.0``, ``RRDB_trunk.0.RDB1.conv1``).

    Raises:
        SrganError: a variant of the network that is not supported.
    """
    if "model.0.weight" in state and any(key.startswith("model.1.sub.") for key in state):
        state = _first_release(state)
    for pattern, name in _PUBLISHED:
        state = {re.sub(rf"^{pattern}(?=\.)", name, key): value for key, value in state.items()}
    if scale == 3 and "conv_up2.weight" not in state:
        state = {re.sub(r"^conv_up1\.", "conv_up_x3.", key): value for key, value in state.items()}
    first = state.get("conv_first.weight")
    if first is not None and first.dim() != 4:
        raise SrganError(f"conv_first.weight has {first.dim()} dimensions but the weights of a convolution have 4. This is not supported")
    if first is not None and first.shape[1] not in (1, 3):
        kind = "that begins with pixel-unshuffle" if first.shape[1] in (12, 48) else "for images other than RGB and gray"
        raise SrganError(f"an RRDB network {kind} ({first.shape[1]} input channels) is not supported")
    return state


def _first_release(state: State) -> State:
    """Rename ``model.N``, the numbers of a sequence of the blocks, the upsampling and the last convolutions."""
    blocks = {int(found[1]) for key in state if (found := re.match(r"model\.1\.sub\.(\d+)\.", key))}
    trunk = max(blocks)  # the convolution after the blocks is the last of them
    numbers = sorted({int(found[1]) for key in state if (found := re.match(r"model\.(\d+)\.weight", key))})
    *ups, hr, last = numbers[1:]
    names = {"model.0": "conv_first", f"model.1.sub.{trunk}": "conv_body", f"model.{hr}": "conv_hr", f"model.{last}": "conv_last"}
    names |= {f"model.{number}": f"conv_up{which}" for which, number in enumerate(ups, 1)}
    result = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        result[f"{names.get(stem) or re.sub(_BLOCK[0], _BLOCK[1], stem)}.{kind}"] = value
    return result


class RRDBConfig(Component):
    """The generator of ESRGAN (Wang et al. 2018)."""

    features: int = option(64, "channels", ge=1)
    growth: int = option(32, "channels that each convolution of a dense block adds", ge=1)
    depth: int = option(23, "blocks", ge=1)


RRDB_NETWORK = Network(
    "rrdb",
    RRDB,
    RRDBConfig,
    _detect,
    "generator of ESRGAN: residual-in-residual dense blocks",
    scales=(1, 2, 3, 4, 8),
    activation_checkpointing=True,
    convert_keys=_convert_keys,
)
