"""Networks that distinguish real from generated images.

The input is `(N, 3, H, W)` in 0..1. A conditional discriminator also sees the input of the generator, in three more channels. The output
is logits, above 0 for a real image, and the features after each layer for feature matching.
"""

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from srgan.config.base import option
from srgan.config.networks import DiscriminatorConfig
from srgan.models.network import Discriminator, State

Output = tuple[torch.Tensor, list[torch.Tensor]]  # logits, features

CONDITION = option(False, "show the discriminator the input of the generator, too (pix2pix, Isola et al. 2017)")


def with_condition(image: torch.Tensor, lr_image: torch.Tensor) -> torch.Tensor:
    """Return the input of a conditional discriminator (pix2pix, Isola et al. 2017, https://arxiv.org/abs/1611.07004, equation 1).

    Args:
        image: HR or SR image, `(N, 3, H, W)`.
        lr_image: input of the generator, `(N, 3, H / scale, W / scale)`. It is enlarged bilinearly.

    Returns:
        `(N, 6, H, W)`.
    """
    if lr_image.shape[2:] != image.shape[2:]:
        lr_image = functional.interpolate(lr_image, size=image.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([image, lr_image.to(image.dtype)], dim=1)


class VggDiscriminator(nn.Module):
    """Classify an image as a whole.

    The discriminator of SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802, section 2.1.1 and figure 4). It has
    eight 3x3 convolutions from 64 to 512 channels, every second one with stride 2, batch normalisation and two dense
    layers. Features are resized to 6x6 before the dense layers. This changes nothing
    for patches of 96 pixels, as in the paper, and allows other patch sizes.

    Args:
        features: channels of the first layer.
    """

    POOLED = 6

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, features, 3, padding=1)
        widths = [features, features, 2 * features, 2 * features, 4 * features, 4 * features, 8 * features, 8 * features]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2 - number % 2, padding=1, bias=False)
            for number, (before, after) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.dense = nn.Linear(8 * features * self.POOLED**2, 16 * features)
        self.last = nn.Linear(16 * features, 1)

    def forward(self, image: torch.Tensor) -> Output:
        """Return logits `(N, 1)`."""
        hidden = functional.leaky_relu(self.first(image * 2 - 1), 0.2)
        features = [hidden]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = functional.leaky_relu(norm(convolution(hidden)), 0.2)
            features.append(hidden)
        pooled = functional.interpolate(hidden, size=(self.POOLED, self.POOLED), mode="bilinear", align_corners=False).flatten(1)
        return self.last(functional.leaky_relu(self.dense(pooled), 0.2)), features


class UnetDiscriminator(nn.Module):
    """Classify each pixel.

    The discriminator of Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833, section 3.3). It is
    a U-Net with skip connections and spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).
    The key names are those of the released checkpoints.

    Args:
        features: channels of the first layer.
        condition: whether it is conditional, see `with_condition`.
    """

    def __init__(self, features: int = 64, condition: bool = False) -> None:
        super().__init__()
        self.condition = condition
        one, two, four, eight = features, 2 * features, 4 * features, 8 * features

        def normed(before: int, after: int, kernel: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(before, after, kernel, stride, padding=1, bias=False))

        self.conv0 = nn.Conv2d(6 if condition else 3, one, 3, padding=1)
        self.conv1, self.conv2, self.conv3 = normed(one, two, 4, 2), normed(two, four, 4, 2), normed(four, eight, 4, 2)
        self.conv4, self.conv5, self.conv6 = normed(eight, four, 3, 1), normed(four, two, 3, 1), normed(two, one, 3, 1)
        self.conv7, self.conv8 = normed(one, one, 3, 1), normed(one, one, 3, 1)
        self.conv9 = nn.Conv2d(one, 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> Output:
        """Return logits `(N, 1, H, W)`."""
        down = [functional.leaky_relu(self.conv0(image * 2 - 1), 0.2)]
        for convolution in (self.conv1, self.conv2, self.conv3):
            down.append(functional.leaky_relu(convolution(down[-1]), 0.2))
        hidden, features = down[-1], list(down)
        for convolution, skip in zip((self.conv4, self.conv5, self.conv6), down[-2::-1], strict=True):
            upscaled = functional.interpolate(hidden, size=skip.shape[2:], mode="bilinear", align_corners=False)
            hidden = functional.leaky_relu(convolution(upscaled), 0.2) + skip
            features.append(hidden)
        for convolution in (self.conv7, self.conv8):
            hidden = functional.leaky_relu(convolution(hidden), 0.2)
            features.append(hidden)
        return self.conv9(hidden), features


class PatchDiscriminator(nn.Module):
    """Classify each patch of an image (PatchGAN: Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 3.2.2).

    Spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957) instead of batch normalisation: it bounds the
    slope, and the statistics of real and generated batches stay separate.

    Args:
        features: channels of the first layer. Each further layer doubles them, up to 8 x `features`.
        depth: layers with stride 2.
        condition: whether it is conditional, see `with_condition`.
    """

    def __init__(self, features: int = 64, depth: int = 3, condition: bool = False) -> None:
        super().__init__()
        self.condition = condition
        widths = [features * min(2**i, 8) for i in range(depth + 1)]
        # Full resolution first: a first layer with stride 2 hardly detects the grid of sub-pixel convolutions.
        self.first = nn.Conv2d(6 if condition else 3, features, 3, padding=1)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)) for before, after in pairwise(widths))
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, image: torch.Tensor) -> Output:
        """Return logits `(N, 1, H / 2**depth, W / 2**depth)`."""
        hidden = self.activation(self.first(image * 2 - 1))
        features = [hidden]
        for layer in self.down:
            hidden = self.activation(layer(hidden))
            features.append(hidden)
        return self.last(hidden), features


def _detect_patch(state: State) -> dict[str, Any] | None:
    layers = {key.split(".")[1] for key in state if key.startswith("down.")}
    return _detect_size(state["first.weight"]) | {"depth": len(layers)} if layers else None


def _detect_vgg(state: State) -> dict[str, Any] | None:
    return {"features": state["first.weight"].shape[0]} if "dense.weight" in state else None


def _detect_unet(state: State) -> dict[str, Any] | None:
    return _detect_size(state["conv0.weight"]) if "conv9.weight" in state else None


def _detect_size(first: torch.Tensor) -> dict[str, Any]:
    """Return the arguments that follow from the weights of the first layer."""
    features, channels = first.shape[:2]
    return {"features": features, "condition": channels == 6}


class PatchConfig(DiscriminatorConfig):
    """Classifies each patch (Isola et al. 2017)."""

    learning_rate: float = option(1.0e-3, "learning rate of the discriminator", gt=0)
    features: int = option(24, "channels of the first layer", ge=1)
    depth: int = option(2, "layers that halve the resolution", ge=1)
    condition: bool = CONDITION

    @property
    def smallest_patch(self) -> int:
        """Side of the smallest HR patch in pixels."""
        return 2**self.depth


class WholeConfig(DiscriminatorConfig):
    """Classifies the image (Ledig et al. 2017)."""

    batch_norm: ClassVar[bool] = True
    features: int = option(64, "channels of the first layer", ge=1)


class UnetConfig(WholeConfig):
    """Classifies each pixel (Wang et al. 2021)."""

    batch_norm: ClassVar[bool] = False
    condition: bool = CONDITION


PATCH = Discriminator(
    "patch", PatchDiscriminator, PatchConfig, _detect_patch, "classifies each patch (PatchGAN), with spectral normalization"
)
VGG = Discriminator("vgg", VggDiscriminator, WholeConfig, _detect_vgg, "discriminator of SRGAN: classifies the whole patch")
UNET = Discriminator(
    "unet",
    UnetDiscriminator,
    UnetConfig,
    _detect_unet,
    "discriminator of Real-ESRGAN: classifies each pixel, with spectral normalization",
)
