"""Layers that several networks share."""

import math
from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from srgan.degradations.colours import LUMA

Upsampling = Literal["pixelshuffle", "nearest", "transposed"]


_MEAN = (0.4488, 0.4371, 0.4040)  # of the channels of DIV2K
_TRANSPOSED = {2: (4, 1), 3: (9, 3)}  # step -> kernel, padding


def upsampling_steps(scale: int) -> list[int]:
    """Return the factors of a scale: 2 and 2 for 4, 3 for 3, none for 1."""
    if scale not in (1, 2, 3, 4, 8):
        raise ValueError(f"no upsampling by {scale}. Possible scales are 1, 2, 3, 4 and 8")
    return [3] if scale == 3 else [2] * int(math.log2(scale))


def recomputed(layer: nn.Module, *inputs: Any) -> Any:
    """Return the output of a layer whose activations the backward pass computes a second time instead of keeping them.

    No layer of this project is random, so the random state is not saved. A CUDA graph could not read it.
    """
    return checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` with a vectorised backward pass on a CPU.

    The backward pass of PyTorch 2.11 computes one element at a time on a CPU, which takes 20 times as long.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features, multiplied by the slope of their channel where they are negative."""
        if features.is_cuda or not features.requires_grad or torch.compiler.is_compiling():
            return super().forward(features)
        slope = self.weight.to(features.dtype).reshape(-1, *[1] * (features.ndim - 2))
        return _VectorisedPReLU.apply(features, slope)


class _VectorisedPReLU(torch.autograd.Function):
    """PReLU of operators that PyTorch vectorises. The slope has the shape `(C or 1, 1, 1)`."""

    @staticmethod
    def forward(context: Any, features: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(features, slope)
        return torch.prelu(features, slope.flatten())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        features, slope = context.saved_tensors
        of_features = of_slope = None
        if context.needs_input_grad[0]:
            of_features = torch.ops.aten.threshold_backward(gradient, features, 0).lerp_(gradient, slope.expand_as(gradient))
        if context.needs_input_grad[1]:
            of_slope = features.clamp(max=0).mul_(gradient).sum_to_size(slope.shape)
        return of_features, of_slope


def unshuffle(image: torch.Tensor, step: int) -> torch.Tensor:
    """Turn blocks of pixels into channels. The last row and column are repeated until `step` divides both sides.

    This equals `torch.nn.functional.pixel_unshuffle` of the padded image. As a convolution with one weight of 1 for each channel, the ONNX
    graph has sizes that runtimes can infer.

    Args:
        image: `(N, C, H, W)`.
        step: side of the blocks.

    Returns:
        `(N, C * step**2, ceil(H / step), ceil(W / step))`.
    """
    if step == 1:
        return image
    return _whole_blocks(functional.pad(image, (0, step - 1, 0, step - 1), mode="replicate"), step)


def mirrored_blocks(image: torch.Tensor, step: int) -> torch.Tensor:
    """Turn blocks of pixels into channels as `unshuffle` does, but mirror the image until `step` divides both sides.

    The last row and column appear once, as with ``reflect`` of `torch.nn.functional.pad`. An image smaller than `step` is mirrored again.
    """
    for axis in (2, 3):
        size = image.shape[axis]
        period = (torch.zeros(1, dtype=torch.long, device=image.device) + (2 * size - 2)).clamp(min=1)
        place = (torch.arange(step - 1, device=image.device) + size) % period
        image = torch.cat([image, image.index_select(axis, torch.minimum(place, period - place))], axis)
    return _whole_blocks(image, step)


def _whole_blocks(image: torch.Tensor, step: int) -> torch.Tensor:
    """Turn blocks of pixels into channels, without the pixels of incomplete blocks at the right and bottom."""
    channels = image.shape[1]
    weight = torch.eye(step**2, dtype=image.dtype, device=image.device).reshape(step**2, 1, step, step).repeat(channels, 1, 1, 1)
    return functional.conv2d(image, weight, stride=step, groups=channels)


def mean_of_div2k(channels: int) -> torch.Tensor:
    """Return the mean color of DIV2K, `(3,)` in 0..1, or its luma (BT.601), `(1,)`."""
    mean = torch.tensor(_MEAN)
    return mean if channels == 3 else (mean * torch.tensor(LUMA)).sum()[None]


def channels_of(inputs: int) -> dict[str, int]:
    """Return the argument `channels` of a network whose first convolution has these input channels. It is empty for RGB.

    A network for gray images has one, or 4 or 16 after `unshuffle`.
    """
    return {"channels": 1} if inputs in (1, 4, 16) else {}


@torch.no_grad()
def pass_image_on(convolution: nn.Conv2d, channels: int = 3) -> None:
    """Let the first channels of a convolution return its first inputs unchanged. So an untrained network can begin with its input."""
    convolution.weight[:channels] = 0
    convolution.get_parameter("bias")[:channels] = 0
    middle = convolution.kernel_size[0] // 2
    convolution.weight[range(channels), range(channels), middle, middle] = 1


def bilinear_taps(scale: int) -> torch.Tensor:
    """Return the kernels that compute the sub-pixels of the bilinear interpolation, `(scale**2, 3, 3)`.

    Sub-pixel i of s is (i + 1/2) / s - 1/2 from the centre of the pixel.
    """
    offset = (torch.arange(scale) + 0.5) / scale - 0.5
    taps = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], dim=1)  # of the left, middle, right pixel
    return torch.einsum("ph,qw->pqhw", taps, taps).flatten(0, 1)


def upsampler(name: Upsampling, features: int, step: int) -> nn.Sequential:
    """Return layers that upscale feature maps by 2 or 3: one convolution and a PReLU.

    - ``pixelshuffle``: a convolution multiplies the channels by step**2, and a pixel shuffle turns them into step x step pixels (Shi et al.
      2016, https://arxiv.org/abs/1609.05158, section 3). These pixels start equal (ICNR: Aitken et al. 2017,
      https://arxiv.org/abs/1707.02937, section 3.3).
    - ``nearest``: nearest-neighbour interpolation, then a convolution (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
    - ``transposed``: a transposed convolution that starts as bilinear interpolation of a mix of channels. Its kernel is a multiple of the
      step. All output pixels have the same number of inputs, so training starts without a checkerboard (the same article).

    The name of the first layer encodes kind and step (``nearest2``), since the shapes do not.
    """
    layers: list[tuple[str, nn.Module]]
    if name == "pixelshuffle":
        convolution = nn.Conv2d(features, features * step**2, 3, padding=1)
        with torch.no_grad():
            for parameter in convolution.parameters():
                parameter.copy_(parameter[:: step**2].repeat_interleave(step**2, dim=0))
        layers = [(f"{name}{step}", convolution), ("shuffle", nn.PixelShuffle(step))]
    elif name == "nearest":
        layers = [
            ("upscale", nn.Upsample(scale_factor=step, mode="nearest")),
            (f"{name}{step}", nn.Conv2d(features, features, 3, padding=1)),
        ]
    else:
        kernel, padding = _TRANSPOSED[step]
        transposed = nn.ConvTranspose2d(features, features, kernel, stride=step, padding=padding)
        with torch.no_grad():
            away = (torch.arange(kernel) - (kernel - 1) / 2).abs() / step
            line = (1 - away).clamp(min=0)
            mix = nn.init.kaiming_normal_(torch.empty(features, features, 1, 1), a=0.25)
            transposed.weight.copy_(mix * line[:, None] * line)
            transposed.get_parameter("bias").zero_()
        layers = [(f"{name}{step}", transposed)]
    return nn.Sequential(OrderedDict([*layers, ("activation", PReLU())]))


def input_range(name: Upsampling, step: int, low: int, high: int) -> tuple[int, int]:
    """Return the first and last input pixel on which the output pixels `low`..`high` of an `upsampler` depend, along one axis."""
    if name == "transposed":
        kernel, padding = _TRANSPOSED[step]
        return -(-(low + padding - kernel + 1) // step), (high + padding) // step
    if name == "nearest":
        return (low - 1) // step, (high + 1) // step
    return low // step - 1, high // step + 1


def fold_into_subpixel(convolution: nn.Conv2d, step: int) -> tuple[torch.Tensor, torch.Tensor | None, int]:
    """Return weights that apply a convolution before a pixel shuffle instead of after it, with the same result.

    The convolution then has fewer pixels and more channels. A pixel of phase p (its row modulo `step`) depends on the pixel t rows away.
    That pixel has phase (p + t) modulo `step`, and is part of the pixel (p + t) // step before the shuffle. So the phases of the input and
    of the output become channels (the sub-pixel convolution of Shi et al. 2016, https://arxiv.org/abs/1609.05158). This is faster if the
    convolution has many input channels and few output channels at full resolution.

    Args:
        convolution: k x k, stride 1, padding k // 2, from C to O channels.
        step: of the pixel shuffle.

    Returns:
        Weight `(O * step**2, C * step**2, m, m)`, bias `(O * step**2)` or None, and padding.
    """
    out, channels, kernel, _ = convolution.weight.shape
    reach = kernel // 2
    near = -(-reach // step)  # pixels before the shuffle, to either side
    size = 2 * near + 1
    phases = []
    for row in range(step):
        for column in range(step):
            before = [near * step + phase - reach for phase in (row, column)]  # zeros that align the kernel with the phase
            after = [size * step - kernel - space for space in before]
            padded = functional.pad(convolution.weight, (before[1], after[1], before[0], after[0]))
            parts = padded.reshape(out, channels, size, step, size, step).permute(0, 1, 3, 5, 2, 4)
            phases.append(parts.reshape(out, channels * step**2, size, size))
    weight = torch.stack(phases, dim=1).flatten(0, 1)
    bias = None if convolution.bias is None else convolution.bias.repeat_interleave(step**2)
    return weight, bias, near
