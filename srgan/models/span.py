"""SPAN: a small network whose attention has no weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import Component, option
from srgan.models.layers import bilinear_taps, channels_of, mean_of_div2k, pass_image_on, recomputed
from srgan.models.network import Generator, Network, State

BLOCKS = 6
_WIDER = 2  # channels inside a re-parameterized convolution / channels around it
_RANGE = 255.0


class _Convolution(nn.Module):
    """A convolution with a kernel of 3 x 3.

    In the re-parameterized form it is the sum of a 1 x 1 convolution and of the convolutions 1 x 1, 3 x 3 and 1 x 1 without activation
    functions, as in the published code. The zeros around the image come before the first of them, so the sum is one convolution everywhere.
    """

    def __init__(self, channels: int, features: int, reparameterized: bool) -> None:
        super().__init__()
        if reparameterized:
            first, last = _WIDER * channels, _WIDER * features
            self.sk = nn.Conv2d(channels, features, 1)
            self.conv = nn.Sequential(nn.Conv2d(channels, first, 1), nn.Conv2d(first, last, 3), nn.Conv2d(last, features, 1))
        else:
            self.eval_conv = nn.Conv2d(channels, features, 3, padding=1)
        self.reparameterized = reparameterized
        self._initialise()
        self.register_load_state_dict_pre_hook(_read_both_forms)

    def _initialise(self) -> None:
        """Initialise with a variance of 2 / fan-in (He et al. 2015), in the re-parameterized form as the sum of two halves."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if self.reparameterized else "relu")
                nn.init.zeros_(layer.get_parameter("bias"))

    @torch.no_grad()
    def pass_image_on(self) -> None:
        """Let the first channels return the channels of the image."""
        layer = self.sk if self.reparameterized else self.eval_conv
        if self.reparameterized:
            self.conv[2].get_parameter("weight")[: layer.in_channels] = 0
        pass_image_on(layer, layer.in_channels)

    def forward(self, features: Tensor) -> Tensor:
        if not self.reparameterized:
            return self.eval_conv(features)
        if self.training:
            return self.conv(functional.pad(features, (1, 1, 1, 1))) + self.sk(features)
        return functional.conv2d(features, *_fold(dict(self.named_parameters())), padding=1)

    def both_forms(self) -> State:
        """Return the weights of the re-parameterized form and of the plain one (``eval_conv``).

        A plain convolution is written as the re-parameterized one that folds into it without rounding. Its 1 x 1 convolutions copy
        channels and its ``sk`` is zero.
        """
        state: State = self.state_dict()
        if self.reparameterized:
            weight, bias = _fold(state)
            return state | {"eval_conv.weight": weight, "eval_conv.bias": bias}
        weight = state["eval_conv.weight"]
        features, channels = weight.shape[:2]
        wide = {key: weight.new_zeros(shape) for key, shape in _wide_shapes(features, channels).items()}
        wide["conv.0.weight"][range(channels), range(channels)] = 1
        wide["conv.1.weight"][:features, :channels] = weight
        wide["conv.1.bias"][:features] = state["eval_conv.bias"]
        wide["conv.2.weight"][range(features), range(features)] = 1
        return state | wide


def _wide_shapes(features: int, channels: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a re-parameterized convolution."""
    shapes = {
        "sk": (features, channels, 1, 1),
        "conv.0": (_WIDER * channels, channels, 1, 1),
        "conv.1": (_WIDER * features, _WIDER * channels, 3, 3),
        "conv.2": (features, _WIDER * features, 1, 1),
    }
    return {f"{layer}.weight": shape for layer, shape in shapes.items()} | {f"{layer}.bias": shape[:1] for layer, shape in shapes.items()}


def _fold(state: State) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that a re-parameterized one equals, computed in float64."""
    one = state["sk.weight"]
    exact = {key: (value.cpu() if one.device.type == "mps" else value).double() for key, value in state.items()}  # it has no float64
    first, middle, last = (exact[f"conv.{number}.weight"] for number in range(3))
    first, last = first[:, :, 0, 0], last[:, :, 0, 0]
    weight = torch.einsum("on,nmhw->omhw", last, middle)
    weight = torch.einsum("omhw,mi->oihw", weight, first) + functional.pad(exact["sk.weight"], (1, 1, 1, 1))
    inside = middle.sum((2, 3)) @ exact["conv.0.bias"] + exact["conv.1.bias"]
    bias = last @ inside + exact["conv.2.bias"] + exact["sk.bias"]
    return weight.to(one).contiguous(), bias.to(one)


def _read_both_forms(module: Any, state: State, prefix: str, *_: Any) -> None:
    """Replace the weights of `_Convolution.both_forms` by those of the form of the module, before it loads them."""
    if f"{prefix}sk.weight" not in state:
        return
    for kind in ("weight", "bias"):  # of a third party it may be older than the other weights
        state.pop(f"{prefix}eval_conv.{kind}", None)
    if module.reparameterized:
        return
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    features, channels = module.eval_conv.weight.shape[:2]
    if {key: tuple(value.shape) for key, value in found.items()} != _wide_shapes(features, channels):
        return  # the names of the weights become an error. Folded, a small file could take much memory
    for key in found:
        del state[prefix + key]
    weight, bias = _fold(found)
    state |= {f"{prefix}eval_conv.weight": weight, f"{prefix}eval_conv.bias": bias}


class _Block(nn.Module):
    """Swift parameter-free attention block: three convolutions, then attention by a symmetric function of the last."""

    def __init__(self, features: int, reparameterized: bool) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (_Convolution(features, features, reparameterized) for _ in range(3))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result, and the features after the first activation."""
        first = functional.silu(self.c1_r(features))
        last = self.c3_r(functional.silu(self.c2_r(first)))
        return (last + features) * (torch.sigmoid(last) - 0.5), first


class SPAN(Generator):
    """Six blocks of three convolutions with parameter-free attention, and one pixel shuffle.

    SPAN (Wan et al. 2024, "Swift Parameter-free Attention Network for Efficient Super-Resolution", https://arxiv.org/abs/2311.12770).
    It has no operation at HR resolution. It has 0.43 million weights for 48 channels at x4, and 0.20 million for 32.

    In training each 3 x 3 convolution can be a sum of wider ones, which costs several times as much (`reparameterized`).
    In evaluation mode the sum is folded into one convolution in float64, and `folded` returns the plain network.

    Files have the key names of published checkpoints and hold both forms of the weights, because programs that read published checkpoints
    need both.

    Args:
        scale: HR size / LR size.
        features: channels.
        norm: subtract the mean color of DIV2K and scale the image to a range of 255, as in some published checkpoints.
        reparameterized: train with wider convolutions.
        channels: of the image, 3 for RGB or 1 for gray.

    Input `(N, channels, H, W)` in 0..1, output `(N, channels, scale * H, scale * W)`, not clamped.
    """

    receptive_field = 3 * BLOCKS + 3
    no_norm: Tensor
    mean: Tensor

    def __init__(self, scale: int, features: int = 48, *, norm: bool = False, reparameterized: bool = False, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.features, self.norm, self.reparameterized = scale, features, norm, reparameterized
        self.channels = channels
        if norm:
            self.register_buffer("mean", mean_of_div2k(channels)[:, None, None], persistent=False)
        else:
            self.register_buffer("no_norm", torch.zeros(1))  # its name in a file is the mark of these networks
        self.conv_1 = _Convolution(channels, features, reparameterized)
        for number in range(1, BLOCKS + 1):
            self.add_module(f"block_{number}", _Block(features, reparameterized))
        self.conv_cat = nn.Conv2d(4 * features, features, 1)
        self.conv_2 = _Convolution(features, features, reparameterized)
        self.upsampler = nn.Sequential(nn.Conv2d(features, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise the network as bilinear interpolation plus little, as in `Compact`. The first channels pass the image on."""
        last = self.upsampler[0]
        assert isinstance(last, nn.Conv2d)
        bias = last.get_parameter("bias").zero_()
        last.weight *= 0.1
        if self.features >= self.channels:
            self.conv_1.pass_image_on()
            pass_image_on(self.conv_cat, self.channels)
            last.weight[:, : self.channels] = 0
            for colour in range(self.channels):
                last.weight[colour * self.scale**2 : (colour + 1) * self.scale**2, colour] = bilinear_taps(self.scale)
        if self.norm:
            last.weight /= _RANGE
            bias += mean_of_div2k(self.channels).repeat_interleave(self.scale**2)

    def forward(self, lr_image: Tensor) -> Tensor:
        """Upscale by `scale`."""
        first = self.conv_1((lr_image - self.mean) * _RANGE if self.norm else lr_image)
        recompute = self.activation_checkpointing and torch.is_grad_enabled()
        features, results, inner = first, [], first
        for number in range(1, BLOCKS + 1):
            block = self.get_submodule(f"block_{number}")
            features, inner = recomputed(block, features) if recompute else block(features)
            results.append(features)
        joined = torch.cat([first, self.conv_2(features), results[0], inner], 1)
        return self.upsampler(self.conv_cat(joined))

    def folded(self) -> Generator:
        """Return the plain network. It computes the same as this one."""
        if not self.reparameterized:
            return self
        plain = SPAN(self.scale, self.features, norm=self.norm, channels=self.channels).to(self.conv_cat.weight)  # its device and type
        plain.load_state_dict(self.state_dict())
        plain.keep_luma = self.keep_luma
        return plain.train(self.training)

    def file_state(self) -> State:
        """Return the weights of both forms, with the key names of published checkpoints."""
        state: State = dict(self.state_dict())
        for name, layer in self.named_modules():
            if isinstance(layer, _Convolution):
                state |= {f"{name}.{key}": value for key, value in layer.both_forms().items()}
        return state


def _detect(state: State) -> dict[str, Any] | None:
    if "conv_cat.weight" not in state or "upsampler.0.weight" not in state or "block_1.c1_r" not in {key[:12] for key in state}:
        return None
    skip = state.get("conv_1.sk.weight")
    first = state["conv_1.eval_conv.weight"] if skip is None else skip
    gray = channels_of(first.shape[1])
    config: dict[str, Any] = {
        "scale": round((state["upsampler.0.weight"].shape[0] / gray.get("channels", 3)) ** 0.5),
        "features": state["conv_cat.weight"].shape[0],
        **gray,
    }
    if "no_norm" not in state:
        config["norm"] = True
    if skip is not None and skip.any():  # zero in the file of a plain network
        config["reparameterized"] = True
    return config


def _convert_keys(state: State, scale: int | None) -> State:
    """Give the mark ``no_norm`` one shape. Its value has no meaning."""
    return state | {"no_norm": torch.zeros(1)} if "no_norm" in state else state


class SPANConfig(Component):
    """Blocks with parameter-free attention (Wan et al. 2024)."""

    features: int = option(48, "channels", ge=1)
    norm: bool = option(False, "subtract the mean color of DIV2K and scale to a range of 255, as in some published checkpoints")
    reparameterized: bool = option(False, "train with wider convolutions, which are folded into the plain ones for use")


SPAN_NETWORK = Network(
    "span",
    SPAN,
    SPANConfig,
    _detect,
    "blocks of three convolutions with attention that has no weights (SPAN), and one pixel shuffle",
    scales=(1, 2, 3, 4, 5, 6, 7, 8),
    activation_checkpointing=True,
    convert_keys=_convert_keys,
)
