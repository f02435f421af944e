"""A U-Net for restoration, without activation functions."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional

from srgan.config.base import Component, option, refuse
from srgan.models.layers import channels_of, unshuffle
from srgan.models.network import Generator, Network, State
from srgan.utils.errors import SrganError

WINDOW = 7  # pixels of a side, at the resolution of the block, over which channel attention averages
_EPSILON = 1e-6


class _LayerNorm(nn.Module):
    """Layer normalisation of the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normed = functional.layer_norm(features.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, _EPSILON)
        return normed.permute(0, 3, 1, 2)


class _LocalMean(nn.Module):
    """Mean over a window around each pixel, without the pixels outside the image.

    A window is a rectangle, so the mean of the rows of the means of the columns is the same and takes 2 instead of `WINDOW` sums.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        reach = WINDOW // 2
        rows = functional.avg_pool2d(features, (WINDOW, 1), 1, (reach, 0), count_include_pad=False)
        return functional.avg_pool2d(rows, (1, WINDOW), 1, (0, reach), count_include_pad=False)


def _gate(features: torch.Tensor) -> torch.Tensor:
    """Multiply the two halves of the channels: the only non-linear operation, with the attention (section 3.3, "SimpleGate")."""
    first, second = features.chunk(2, dim=1)
    return first * second


class _Block(nn.Module):
    """A block of figure 3c: depthwise convolution with channel attention, then a pointwise part, both with layer normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _LayerNorm(width), _LayerNorm(width)
        self.conv1 = nn.Conv2d(width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.local_sca = nn.Sequential(_LocalMean(), nn.Conv2d(width, width, 1))
        self.conv3 = nn.Conv2d(width, width, 1)
        self.conv4 = nn.Conv2d(width, 2 * width, 1)
        self.conv5 = nn.Conv2d(width, width, 1)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, width, 1, 1)) for _ in range(2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = _gate(self.conv2(self.conv1(self.norm1(features))))
        features = features + self.conv3(hidden * self.local_sca(hidden)) * self.beta
        return features + self.conv5(_gate(self.conv4(self.norm2(features)))) * self.gamma


class NAFNet(Generator):
    """Encoder and decoder of blocks without activation functions, added to the image.

    NAFNet (Chen et al. 2022, "Simple Baselines for Image Restoration", https://arxiv.org/abs/2204.04676, figures 2c and 3c). Each level of
    the encoder halves the resolution and doubles the channels, so a block costs the same at every level.

    The channel attention of the paper averages over the whole image. A tile then differs from the image, and a training patch from both
    (Chu et al. 2022, "Improving Image Restoration by Revisiting Global Information Aggregation", https://arxiv.org/abs/2112.04491). Here it
    averages over `WINDOW` x `WINDOW` pixels around each pixel, in training and use. Other weights belong to that, so the key of
    the attention is ``local_sca`` and published checkpoints are refused. All other keys are those of the published code.

    Args:
        scale: 1.
        width: channels of the first level.
        encoder_blocks: blocks of each level of the encoder.
        middle_blocks: blocks at the lowest resolution.
        decoder_blocks: blocks of each level of the decoder, from the lowest resolution to the highest.
        unshuffle: side of the blocks of pixels that become channels before the first level, as in `Compact`.
        channels: of the image, 3 for RGB or 1 for gray.

    Input and output `(N, channels, H, W)` in 0..1, the output not clamped.
    """

    def __init__(
        self,
        scale: int = 1,
        width: int = 32,
        encoder_blocks: tuple[int, ...] = (1, 1),
        middle_blocks: int = 2,
        decoder_blocks: tuple[int, ...] = (1, 1),
        *,
        unshuffle: int = 1,
        channels: int = 3,
    ) -> None:
        super().__init__()
        if scale != 1 or len(encoder_blocks) != len(decoder_blocks):
            raise ValueError("nafnet has scale 1, and as many levels in the decoder as in the encoder")
        self.scale, self.width, self.unshuffle, self.channels = scale, width, unshuffle, channels
        self.encoder_blocks, self.middle_blocks, self.decoder_blocks = tuple(encoder_blocks), middle_blocks, tuple(decoder_blocks)
        widths = [width * 2**level for level in range(len(encoder_blocks) + 1)]
        self.intro = nn.Conv2d(channels * unshuffle**2, width, 3, padding=1)
        self.encoders = nn.ModuleList(_blocks(number, wide) for number, wide in zip(encoder_blocks, widths, strict=False))
        self.downs = nn.ModuleList(nn.Conv2d(wide, 2 * wide, 2, stride=2) for wide in widths[:-1])
        self.middle_blks = _blocks(middle_blocks, widths[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, 2 * wide, 1, bias=False), nn.PixelShuffle(2)) for wide in reversed(widths[1:])
        )
        self.decoders = nn.ModuleList(_blocks(number, wide) for number, wide in zip(decoder_blocks, reversed(widths[:-1]), strict=True))
        self.ending = nn.Conv2d(width, channels * unshuffle**2, 3, padding=1)
        with torch.no_grad():
            self.ending.weight *= 0.1  # the network begins close to its input
            self.ending.get_parameter("bias").zero_()

    @property
    def multiple_of(self) -> int:
        """Return the multiple of pixels to which the input is padded."""
        return self.unshuffle * 2 ** len(self.encoder_blocks)

    @property
    def receptive_field(self) -> int:
        """Return the pixels in each direction on which an output pixel depends."""
        return max(self._reach(pixel) for pixel in range(self.multiple_of))

    def _reach(self, pixel: int) -> int:
        """Return the reach of one output pixel. It depends on the position of the pixel in the grid of the lowest resolution."""
        block = 1 + WINDOW // 2
        low = high = pixel // self.unshuffle
        reach = 1
        for blocks in reversed(self.decoder_blocks):
            reach += block * blocks
            low, high, reach = (low - reach) // 2, (high + reach) // 2, 0
        reach = block * self.middle_blocks
        for blocks in reversed(self.encoder_blocks):
            low, high, reach = 2 * (low - reach), 2 * (high + reach) + 1, block * blocks
        low, high = (low - reach - 1) * self.unshuffle, (high + reach + 2) * self.unshuffle - 1
        return max(pixel - low, high - pixel)

    def forward(self, lr_image: torch.Tensor) -> torch.Tensor:
        """Restore an image."""
        height, width = lr_image.shape[2:]
        padded = functional.pixel_shuffle(unshuffle(lr_image, self.multiple_of), self.multiple_of)
        features = self.intro(unshuffle(padded, self.unshuffle))
        skipped = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skipped.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skipped), strict=True):
            features = decoder(up(features) + skip)
        change = self.ending(features)
        if self.unshuffle > 1:
            change = functional.pixel_shuffle(change, self.unshuffle)
        return lr_image + change[..., :height, :width]


def _blocks(number: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(width) for _ in range(number)))


def _detect(state: State) -> dict[str, Any] | None:
    if "intro.weight" not in state or "middle_blks.0.local_sca.1.weight" not in state:
        return None
    width, channels = state["intro.weight"].shape[:2]
    levels = len({key.split(".")[1] for key in state if key.startswith("downs.")})
    lowest = width * 2**levels
    if state["middle_blks.0.conv1.weight"].shape != (2 * lowest, lowest, 1, 1):  # before a file makes the network allocate memory
        raise ValueError(f"middle_blks.0.conv1 does not have {lowest} channels")

    def count(prefix: str) -> int:
        return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})

    gray = channels_of(channels)
    unshuffle = round((channels / gray.get("channels", 3)) ** 0.5)
    return {
        "scale": 1,
        "width": width,
        "encoder_blocks": tuple(count(f"encoders.{level}.") for level in range(levels)),
        "middle_blocks": count("middle_blks."),
        "decoder_blocks": tuple(count(f"decoders.{level}.") for level in range(levels)),
    } | (gray | ({"unshuffle": unshuffle} if unshuffle > 1 else {}))


def _convert_keys(state: State, scale: int | None) -> State:
    """Refuse published checkpoints, whose channel attention is another.

    Raises:
        SrganError: the file is a published NAFNet.
    """
    if "intro.weight" in state and "middle_blks.0.sca.1.weight" in state:
        raise SrganError("a NAFNet whose channel attention averages over the whole image. This is not supported, tiles would differ")
    return state


Blocks = tuple[Annotated[int, Field(ge=0)], ...]


class NAFNetConfig(Component):
    """A U-Net of blocks without activation functions (Chen et al. 2022)."""

    width: int = option(32, "channels of the first level. Each further level doubles them", ge=1)
    encoder_blocks: Blocks = option((1, 1), "blocks of each level of the encoder. Each level halves the resolution", min_length=1)
    middle_blocks: int = option(2, "blocks at the lowest resolution", ge=1)
    decoder_blocks: Blocks = option((1, 1), "blocks of each level of the decoder, from the lowest resolution", min_length=1)
    unshuffle: Literal[1, 2, 4] = option(1, "side of the blocks of pixels that become channels. 2 computes at half the resolution")

    @model_validator(mode="after")
    def _check(self) -> "NAFNetConfig":
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            refuse("decoder_blocks", f"must have as many levels as encoder_blocks ({len(self.encoder_blocks)})")
        return self


NAFNET_NETWORK = Network(
    "nafnet",
    NAFNet,
    NAFNetConfig,
    _detect,
    "U-Net for restoration without activation functions (NAFNet), with channel attention over windows",
    scales=(1,),
    purpose="restoration",
    multiple_of=lambda options: options.unshuffle * 2 ** len(options.encoder_blocks),
    convert_keys=_convert_keys,
)
