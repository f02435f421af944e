"""RealPLKSR: convolutions with a large kernel on a quarter of the channels."""

from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import Component, option, refuse
from srgan.models.layers import channels_of, pass_image_on, recomputed
from srgan.models.network import WHOLE_IMAGE, Generator, Network, State

Normalization = Literal["layer", "group"]
Upsampling = Literal["pixelshuffle", "dysample"]

LARGEST_OFFSET = 8.0  # LR pixels by which DySample moves a sample at most
_SHARE = 4  # channels / channels of the large kernel, and groups of the group normalisation
_MULTIPLE = 8  # of channels: a group needs two or more, or it has no variance in an image of one pixel
_EPSILON = 1e-6
_SPREAD = 0.02  # standard deviation of the initial weights


class _LayerNorm(nn.Module):
    """Layer normalisation of the channels of each pixel, computed in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        exact = features.float()
        centred = exact - exact.mean(1, keepdim=True)
        # In the order of the published code, so that results are equal to the bit.
        normed = centred / (centred.pow(2).mean(1, keepdim=True) + _EPSILON).sqrt()
        return self.weight[:, None, None] * normed.to(features) + self.bias[:, None, None]


class _LargeKernel(nn.Module):
    """Partial large kernel convolution: the first channels are convolved, the others pass (section 3.2)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, features: Tensor) -> Tensor:
        channels = self.conv.in_channels
        return torch.cat([self.conv(features[:, :channels]), features[:, channels:]], 1)


class _Attention(nn.Module):
    """Element-wise attention: a gate for each channel of each pixel (section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        return features * self.f(features)


class _Block(nn.Module):
    """Local features by two 3 x 3 convolutions, then the large kernel, the attention and a 1 x 1 convolution, added to the input."""

    def __init__(self, channels: int, kernel: int, normalization: Normalization) -> None:
        super().__init__()
        local = normalization == "layer"
        self.layer_norm = _LayerNorm(channels) if local else nn.Identity()
        self.channel_mixer = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.Mish(), nn.Conv2d(2 * channels, channels, 3, padding=1)
        )
        self.lk = _LargeKernel(channels // _SHARE, kernel)
        self.attn = _Attention(channels)
        self.refine = nn.Conv2d(channels, channels, 1)
        self.norm = nn.Identity() if local else nn.GroupNorm(_SHARE, channels)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.lk(self.channel_mixer(self.layer_norm(features)))
        return features + self.norm(self.refine(self.attn(mixed)))


class _DySample(nn.Module):
    """Upsampling that samples its input at learned positions.

    DySample (Liu et al. 2023, "Learning to Upsample by Learning to Sample", https://arxiv.org/abs/2308.15085, figure 2) in the form with
    a dynamic scope factor: offset = 0.5 * sigmoid(linear(x)) * linear(x). Each group of channels has its own positions, and a 1 x 1
    convolution computes the colours of the samples. Positions are computed in float32, since other types cannot hold them in a large image.

    Input `(N, colours * scale**2, H, W)`, output `(N, colours, scale * H, scale * W)`.
    """

    init_pos: Tensor

    def __init__(self, scale: int, colours: int) -> None:
        super().__init__()
        channels = colours * scale**2
        self.scale, self.groups = scale, colours if scale % 2 else 4
        self.offset = nn.Conv2d(channels, 2 * self.groups * scale**2, 1)
        self.scope = nn.Conv2d(channels, 2 * self.groups * scale**2, 1, bias=False)
        if scale > 1:
            self.end_conv = nn.Conv2d(channels, colours, 1)
        places = (torch.arange(scale) - (scale - 1) / 2) / scale  # of the sub-pixels, from the centre of the pixel
        across, down = places.repeat(scale), places.repeat_interleave(scale)
        self.register_buffer("init_pos", torch.cat([across.repeat(self.groups), down.repeat(self.groups)]).reshape(1, -1, 1, 1))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise as bilinear interpolation: the samples of the sub-pixel are those of its place, and their mean is the colour."""
        nn.init.trunc_normal_(self.offset.weight, std=_SPREAD)
        nn.init.zeros_(self.offset.get_parameter("bias"))
        nn.init.zeros_(self.scope.weight)
        if self.scale > 1:
            pixels = self.scale**2
            self.end_conv.get_parameter("bias").zero_()
            self.end_conv.weight.zero_()
            for colour in range(self.end_conv.out_channels):
                self.end_conv.weight[colour, colour * pixels : (colour + 1) * pixels] = 1 / pixels

    def forward(self, features: Tensor) -> Tensor:
        number, channels, height, width = features.shape
        offset = self.offset(features) * self.scope(features).sigmoid() * 0.5
        offset = offset.float().clamp(-LARGEST_OFFSET, LARGEST_OFFSET) + self.init_pos.float()
        across, down = offset.chunk(2, dim=1)
        columns, rows = (torch.arange(side, device=features.device, dtype=torch.float32) + 0.5 for side in (width, height))
        places = [2 * (across + columns) / width - 1, 2 * (down + rows[:, None]) / height - 1]  # -1..1
        grid = torch.stack([functional.pixel_shuffle(place, self.scale) for place in places], dim=-1)
        groups = features.reshape(number * self.groups, channels // self.groups, height, width)
        samples = functional.grid_sample(groups.float(), grid.flatten(0, 1), "bilinear", "border", align_corners=False)
        samples = samples.to(features).reshape(number, channels, self.scale * height, self.scale * width)
        return self.end_conv(samples) if self.scale > 1 else samples


class RealPLKSR(Generator):
    """Blocks of a local and a large convolution at LR resolution, added to the image, and one upsampling.

    RealPLKSR is the form of PLKSR (Lee et al. 2024, "Partial Large Kernel CNNs for Efficient Super-Resolution",
    https://arxiv.org/abs/2404.11848, section 3 and figure 3) that the community trains, with a normalisation in each block and another
    activation function. It has 7.39 million weights at x4 with 28 blocks of 64 channels. The key names are those of published checkpoints.

    Group normalisation uses mean and variance of the whole image. A tile has others, so tiles differ from the image and are blended.
    Layer normalisation uses the channels of one pixel, and tiles equal the image.

    DySample can move a sample by any distance. Here the distance is limited to `LARGEST_OFFSET` LR pixels, so that an output pixel depends
    on a limited region. Initial offsets are below a pixel.

    Args:
        scale: HR size / LR size.
        features: channels, a multiple of 8.
        depth: blocks.
        kernel: side of the large kernel, an odd number.
        normalization: ``layer`` or ``group``, as in most published checkpoints.
        upsampling: ``pixelshuffle`` or ``dysample``.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    def __init__(
        self,
        scale: int,
        features: int = 64,
        depth: int = 28,
        kernel: int = 17,
        normalization: Normalization = "layer",
        upsampling: Upsampling = "pixelshuffle",
        *,
        channels: int = 3,
    ) -> None:
        super().__init__()
        if features % _MULTIPLE or kernel % 2 == 0:
            raise ValueError(f"realplksr has a multiple of {_MULTIPLE} channels and an odd kernel, not {features} and {kernel}")
        self.scale, self.features, self.depth, self.kernel = scale, features, depth, kernel
        self.normalization: Normalization = normalization
        self.upsampling: Upsampling = upsampling
        self.channels = channels
        self.feats = nn.Sequential(
            nn.Conv2d(channels, features, 3, padding=1),
            *(_Block(features, kernel, normalization) for _ in range(depth)),
            nn.Identity(),  # published checkpoints have a dropout without weights here, which counts in the key names
            nn.Conv2d(features, channels * scale**2, 3, padding=1),
        )
        self.to_img = _DySample(scale, channels) if upsampling == "dysample" else nn.PixelShuffle(scale)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the network as the interpolation of its upsampling plus little: nearest-neighbour or bilinear."""
        for name, layer in self.feats.named_modules():
            if isinstance(layer, nn.Conv2d) and not name.endswith("channel_mixer.0"):
                nn.init.trunc_normal_(layer.weight, std=_SPREAD)
                nn.init.zeros_(layer.get_parameter("bias"))
            elif isinstance(layer, nn.GroupNorm):
                nn.init.constant_(layer.weight, 0.1)  # 28 blocks would add up to 28 times the variance
        if self.features >= self.channels:
            first = self.feats[0]
            assert isinstance(first, nn.Conv2d)
            pass_image_on(first, self.channels)
        last = self.feats[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight *= 0.1

    @property
    def tail_layers(self) -> tuple[str, ...]:
        """Return the names of the layers that make the image of the features."""
        return (f"feats.{self.depth + 2}", *(["to_img"] if self.upsampling == "dysample" else []))

    @property
    def receptive_field(self) -> int:
        """Return the LR pixels in each direction on which an output pixel depends."""
        if self.normalization == "group":
            return WHOLE_IMAGE
        sampled = int(LARGEST_OFFSET) + 1 if self.upsampling == "dysample" else 0
        return 2 + self.depth * (3 + self.kernel // 2) + sampled

    def forward(self, lr_image: Tensor) -> Tensor:
        """Upscale by `scale`."""
        features = lr_image
        for layer in self.feats:
            again = self.activation_checkpointing and torch.is_grad_enabled() and isinstance(layer, _Block)
            features = recomputed(layer, features) if again else layer(features)
        if self.upsampling == "dysample":
            return self.to_img(features + lr_image.repeat_interleave(self.scale**2, dim=1))
        nearest = functional.interpolate(lr_image, scale_factor=self.scale, mode="nearest") if self.scale > 1 else lr_image
        return self.to_img(features) + nearest


def _detect(state: State) -> dict[str, Any] | None:
    if not {"feats.0.weight", "feats.1.channel_mixer.0.weight", "feats.1.lk.conv.weight"} <= state.keys():
        return None
    last = len({key.split(".")[1] for key in state if key.startswith("feats.")})  # the number before it has no weights
    features, large = state["feats.0.weight"].shape[0], state["feats.1.lk.conv.weight"]
    if len(large) * _SHARE != features:
        raise ValueError(f"the large kernel has {len(large)} of {features} channels, a quarter is supported")
    if "feats.1.attn.f.0.weight" not in state:
        raise ValueError("blocks without attention are not supported")
    gray = channels_of(state["feats.0.weight"].shape[1])
    return {
        "scale": round((state[f"feats.{last}.weight"].shape[0] / gray.get("channels", 3)) ** 0.5),
        "features": features,
        "depth": last - 2,
        "kernel": large.shape[2],
        "normalization": "layer" if "feats.1.layer_norm.weight" in state else "group",
        "upsampling": "dysample" if "to_img.init_pos" in state else "pixelshuffle",
    } | gray


class RealPLKSRConfig(Component):
    """Convolutions with a large kernel on a quarter of the channels (after Lee et al. 2024)."""

    features: int = option(64, "channels, a multiple of 8", ge=8)
    depth: int = option(28, "blocks", ge=1)
    kernel: int = option(17, "side of the large kernel in pixels, an odd number", ge=1)
    normalization: Normalization = option("layer", "layer, or group as in most published checkpoints. Tiles are exact with layer alone")
    upsampling: Upsampling = option("pixelshuffle", "pixelshuffle, or dysample, which samples at learned positions")

    @model_validator(mode="after")
    def _check(self) -> "RealPLKSRConfig":
        if self.features % _MULTIPLE:
            refuse("features", f"must be a multiple of {_MULTIPLE}")
        if self.kernel % 2 == 0:
            refuse("kernel", "must be odd")
        return self


REALPLKSR_NETWORK = Network(
    "realplksr",
    RealPLKSR,
    RealPLKSRConfig,
    _detect,
    "blocks with a large kernel on a quarter of the channels (RealPLKSR), and a pixel shuffle or learned sampling (DySample)",
    scales=(1, 2, 3, 4, 5, 6, 7, 8),
    # Features before a group normalisation have any size. The positions of DySample need float32, also in the ONNX file.
    half=lambda options: options.normalization == "layer" and options.upsampling == "pixelshuffle",
    activation_checkpointing=True,
)
