"""SwinIR: attention within windows of pixels, in the light form."""

import math
from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import Component, option, refuse
from srgan.models.layers import bilinear_taps, channels_of, mean_of_div2k, mirrored_blocks, pass_image_on, recomputed
from srgan.models.network import Generator, Network, State

Window = Literal[4, 8, 16]
Grid = tuple[int, int]  # windows in the rows and columns of an image

_WIDER = 2  # channels inside the feed-forward part of a block / channels around it
_FORBIDDEN = -100.0  # is added to the attention between pixels that are no neighbours, as in the published code
_COMPUTED = ".attn_mask", ".relative_position_index"  # ends of key names in a file that hold no weights


class _Attention(nn.Module):
    """Multi-head self-attention within a window: SoftMax(QK^T / sqrt(d) + B)V with a learned bias B by relative position (section 3.2)."""

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", _relative_positions(window), persistent=False)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor, images: int, mask: Tensor | None) -> Tensor:
        """Return the result for `(windows of all images, pixels, channels)`."""
        pixels, channels = windows.shape[1:]
        parts = self.qkv(windows).reshape(-1, pixels, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind()
        bias = self.relative_position_bias_table[self.relative_position_index].reshape(pixels, pixels, self.heads).permute(2, 0, 1)
        attention = (query * (channels // self.heads) ** -0.5) @ key.transpose(-2, -1) + bias
        if mask is not None:
            by_image = attention.reshape(images, mask.shape[0], self.heads, pixels, pixels) + mask[:, None]
            attention = by_image.reshape(-1, self.heads, pixels, pixels)
        mixed = attention.softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(-1, pixels, channels))


class _FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, _WIDER * channels), nn.Linear(_WIDER * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(features)))


class _Block(nn.Module):
    """Swin Transformer layer: X = MSA(LN(X)) + X, then X = MLP(LN(X)) + X (section 3.2), on windows that may be shifted by a half."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn, self.mlp = _Attention(channels, heads, window), _FeedForward(channels)

    def forward(self, features: Tensor, grid: Grid, mask: Tensor) -> Tensor:
        """Return the result for `(N, H, W, channels)`. H and W are the window times `grid`."""
        (images, _, _, channels), (rows, columns), side = features.shape, grid, self.window
        shifted = _rolled(self.norm1(features), self.shift)
        windows = shifted.reshape(images, rows, side, columns, side, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, side**2, channels)
        windows = self.attn(windows, images, mask if self.shift else None)
        windows = windows.reshape(images, rows, columns, side, side, channels).permute(0, 1, 3, 2, 4, 5)
        features = features + _rolled(windows.reshape(images, rows * side, columns * side, channels), -self.shift)
        return features + self.mlp(self.norm2(features))


class _Body(nn.Module):
    def __init__(self, channels: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(channels, heads, window, window // 2 if number % 2 else 0) for number in range(depth))


class _Group(nn.Module):
    """Residual Swin Transformer block: blocks and a convolution, added to the input (section 3.2, figure 2a)."""

    def __init__(self, channels: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.residual_group = _Body(channels, depth, heads, window)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, grid: Grid, mask: Tensor, recompute: bool) -> Tensor:
        hidden = features
        for block in self.residual_group.blocks:
            hidden = recomputed(block, hidden, grid, mask) if recompute else block(hidden, grid, mask)
        return self.conv(_image(hidden)).permute(0, 2, 3, 1) + features


class SwinIR(Generator):
    """Groups of blocks with attention within windows, and one pixel shuffle.

    The light form of SwinIR (Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer", https://arxiv.org/abs/2108.10257,
    section 3, figure 2 and table 5): 4 groups of 6 blocks of 60 channels. These are 0.93 million weights at x4. The paper counts 0.90
    million, without the position biases. At scale 1 the last convolution is added to the image, as in its forms for denoising.

    The windows of every second block are shifted by half a window, so that neighbouring windows exchange features. The image is mirrored
    at its right and bottom until windows cover it. The positions of the windows count from the corner of the image. So a tile gives the
    result of the whole image if it begins at a multiple of `window` and overlaps by `receptive_field`.

    There is no dropout and no stochastic depth. The key names are those of published checkpoints. A file also holds the attention mask and
    the table of relative positions, which are no weights, because programs that read published checkpoints need them.

    Args:
        scale: HR size / LR size.
        features: channels, a multiple of `heads`.
        groups: groups of blocks.
        depth: blocks of a group.
        heads: heads of the attention.
        window: side of the windows in LR pixels.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    padding = "reflect"
    mean: Tensor

    def __init__(
        self,
        scale: int,
        features: int = 60,
        groups: int = 4,
        depth: int = 6,
        heads: int = 6,
        window: Window = 8,
        *,
        channels: int = 3,
    ) -> None:
        super().__init__()
        if features % heads or window % 2:
            raise ValueError(f"swinir has a multiple of {heads} channels and an even window, not {features} and {window}")
        self.scale, self.features, self.groups, self.depth, self.heads = scale, features, groups, depth, heads
        self.window: Window = window
        self.channels = channels
        self.register_buffer("mean", mean_of_div2k(channels)[:, None, None], persistent=False)
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = nn.ModuleList(_Group(features, depth, heads, window) for _ in range(groups))
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        if scale == 1:
            self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        else:
            self.upsample = nn.Sequential(nn.Conv2d(features, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self._initialise()
        self.register_load_state_dict_pre_hook(_drop_computed)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the network as bilinear interpolation plus little, as in `Compact`. The first channels pass the image on."""
        for layer in self.layers.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.get_parameter("bias"))
        last = self.conv_last if self.scale == 1 else self.upsample[0]
        assert isinstance(last, nn.Conv2d)
        last.weight *= 0.1
        last.get_parameter("bias").zero_()
        if self.scale > 1 and self.features >= self.channels:
            pass_image_on(self.conv_first, self.channels)
            self.conv_after_body.weight[: self.channels] = 0
            self.conv_after_body.get_parameter("bias")[: self.channels] = 0
            last.weight[:, : self.channels] = 0
            for colour in range(self.channels):
                last.weight[colour * self.scale**2 : (colour + 1) * self.scale**2, colour] = bilinear_taps(self.scale)

    @property
    def multiple_of(self) -> int:
        """Return the multiple of LR pixels to which the input is padded."""
        return self.window

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        return max(self._reach(pixel) for pixel in range(self.window))

    def _reach(self, pixel: int) -> int:
        """Return the reach of the output of one LR pixel. It depends on the position of the pixel in its window."""
        low, high = pixel - 2, pixel + 2  # the last convolution and the one after the groups
        for _ in range(self.groups):
            low, high = low - 1, high + 1
            for number in reversed(range(self.depth)):
                shift = self.window // 2 if number % 2 else 0
                low = (low - shift) // self.window * self.window + shift
                high = (high - shift) // self.window * self.window + shift + self.window - 1
        return max(pixel - (low - 1), high + 1 - pixel)

    def forward(self, lr_image: Tensor) -> Tensor:
        """Upscale by `scale`."""
        height, width = lr_image.shape[2:]
        image = lr_image - self.mean
        blocks = mirrored_blocks(image, self.window)
        grid = blocks.shape[2], blocks.shape[3]
        mask = _mask(blocks, self.window)
        first = self.conv_first(functional.pixel_shuffle(blocks, self.window))
        features = self.patch_embed["norm"](first.permute(0, 2, 3, 1))
        for group in self.layers:
            features = group(features, grid, mask, self.activation_checkpointing and torch.is_grad_enabled())
        features = self.conv_after_body(_image(self.norm(features))) + first
        if self.scale == 1:
            return image + self.conv_last(features)[..., :height, :width] + self.mean
        return self.upsample(features)[..., : self.scale * height, : self.scale * width] + self.mean

    def file_state(self) -> State:
        """Return the weights, and the masks and positions that readers of published checkpoints need, for an image of 2 x 2 windows."""
        state: State = dict(self.state_dict())
        mask = _mask(torch.zeros(1, 1, 2, 2), self.window)
        for name, layer in self.named_modules():
            if isinstance(layer, _Block):
                state[f"{name}.attn.relative_position_index"] = _relative_positions(self.window)
                if layer.shift:
                    state[f"{name}.attn_mask"] = mask.clone()  # tensors of a file share no memory
        return state


def _image(features: Tensor) -> Tensor:
    """Return `(N, channels, H, W)` for `(N, H, W, channels)`.

    The step through a list of pixels gives the layout in memory that the published code has, so results are equal to the bit.
    """
    number, height, width, channels = features.shape
    return features.reshape(number, height * width, channels).transpose(1, 2).reshape(number, channels, height, width)


def _relative_positions(window: int) -> Tensor:
    """Return the row of the bias table for each pair of pixels of a window, `(window**2, window**2)`."""
    side = torch.arange(window)
    rows, columns = side.repeat_interleave(window), side.repeat(window)
    down, across = (place[:, None] - place + window - 1 for place in (rows, columns))
    return down * (2 * window - 1) + across


def _rolled(features: Tensor, shift: int) -> Tensor:
    """Move rows and columns up and left by `shift`. Those that leave the image return at the other side."""
    if not shift:
        return features
    features = torch.cat([features[:, shift:], features[:, :shift]], 1)
    return torch.cat([features[:, :, shift:], features[:, :, :shift]], 2)


def _mask(blocks: Tensor, window: int) -> Tensor:
    """Return the mask of shifted windows.

    The last windows of the rows and columns hold pixels of both sides of the image, which must not see each other.

    Args:
        blocks: `(N, channels, rows, columns)`, a pixel for each window.
        window: side of a window.

    Returns:
        `(rows * columns, window**2, window**2)`: 0, or `_FORBIDDEN` for pixels of two sides.
    """
    late = (torch.arange(window, device=blocks.device) >= window - window // 2).float()
    sides = []
    for line in (blocks[0, 0, :, 0], blocks[0, 0, 0, :]):
        last = functional.pad(torch.zeros_like(line, dtype=torch.float32), (0, 1), value=1.0)[1:]
        sides.append(last[:, None] * late)  # 1 for pixels of the other side
    below, right = sides
    side = 2 * below[:, None, :, None] + right[:, None, :]
    side = side.reshape(-1, window**2)
    return (side[:, None] != side[:, :, None]).float() * _FORBIDDEN


def _drop_computed(module: nn.Module, state: State, *_: Any) -> None:
    """Drop the entries of a file that are no weights, before the module loads it."""
    for key in [key for key in state if key.endswith(_COMPUTED)]:
        del state[key]


def _detect(state: State) -> dict[str, Any] | None:
    first = "layers.0.residual_group.blocks.0."
    if "conv_first.weight" not in state or f"{first}attn.relative_position_bias_table" not in state:
        return None
    table, features = state[f"{first}attn.relative_position_bias_table"], state["conv_first.weight"].shape[0]
    window = (math.isqrt(len(table)) + 1) // 2
    if window not in (4, 8, 16):
        raise ValueError(f"a window of {window} pixels is not supported, only of 4, 8 and 16")
    if "conv_before_upsample.0.weight" in state or "conv_after_body.weight" not in state:
        raise ValueError("only the light form is supported, with one convolution after each group and a single pixel shuffle")
    if state[f"{first}mlp.fc1.weight"].shape[0] != _WIDER * features:
        raise ValueError(f"the feed-forward part of a block does not have {_WIDER * features} channels")
    gray = channels_of(state["conv_first.weight"].shape[1])
    numbers = [key.split(".") for key in state if key.startswith("layers.") and ".blocks." in key]
    return {
        "scale": round((state["upsample.0.weight"].shape[0] / gray.get("channels", 3)) ** 0.5) if "upsample.0.weight" in state else 1,
        "features": features,
        "groups": len({parts[1] for parts in numbers}),
        "depth": len({parts[4] for parts in numbers}),
        "heads": table.shape[1],
        "window": window,
    } | gray


class SwinIRConfig(Component):
    """Attention within windows of pixels, the light form of SwinIR (Liang et al. 2021)."""

    features: int = option(60, "channels, a multiple of heads", ge=1)
    groups: int = option(4, "groups of blocks, each with a convolution", ge=1)
    depth: int = option(6, "blocks of a group. The windows of every second block are shifted", ge=1)
    heads: int = option(6, "heads of the attention", ge=1)
    window: Window = option(8, "side of the windows in LR pixels")

    @model_validator(mode="after")
    def _check(self) -> "SwinIRConfig":
        if self.features % self.heads:
            refuse("features", f"must be a multiple of heads ({self.heads})")
        return self


SWINIR_NETWORK = Network(
    "swinir",
    SwinIR,
    SwinIRConfig,
    _detect,
    "groups of blocks with attention within shifted windows (SwinIR, light form), and one pixel shuffle",
    scales=(1, 2, 3, 4, 5, 6, 7, 8),
    multiple_of=lambda options: options.window,
    half=False,  # the features that blocks add up have any size
    activation_checkpointing=True,
)
