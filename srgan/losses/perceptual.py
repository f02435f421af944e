"""Perceptual losses that need pre-trained networks. Frozen, they bring gradients to the generator and learn nothing."""

import torch
from torch import Tensor, nn

from srgan.config.losses import DiscriminatorFeatures, Perceptual, VggFeatures
from srgan.data.download import weights as pretrained
from srgan.losses.pixel import PIXEL_LOSSES
from srgan.metrics.lpips import lpips_network
from srgan.models.vgg import Vgg19, random_weights
from srgan.utils.errors import SrganError


class VggLoss(nn.Module):
    """Distance of feature maps of VGG19 (Johnson et al. 2016, https://arxiv.org/abs/1603.08155; SRGAN, equation 5; ESRGAN, section 3.3).

    Args:
        features: `srgan.models.vgg.Vgg19` for the layers of `weights`.
        weights: of the layers, in their order.
        distance: ``l1`` as in ESRGAN, or ``mse`` as in SRGAN.
    """

    def __init__(self, features: nn.Module, weights: list[float], distance: str) -> None:
        super().__init__()
        self.features, self.weights, self.distance = features, weights, PIXEL_LOSSES[distance]

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Loss of two `(N, 3, H, W)` batches in 0..1; no gradient goes to the second."""
        with torch.no_grad():
            real = self.features(hr_image)
        fake = self.features(sr_image)
        parts = [weight * self.distance(a.float(), b.float()) for weight, a, b in zip(self.weights, fake, real, strict=True)]
        return torch.stack(parts).sum()


class LpipsLoss(nn.Module):
    """LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924), in float32, which its normalisation needs.

    Args:
        network: what `srgan.metrics.lpips.lpips_network` returns.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Loss of two `(N, 3, H, W)` batches in 0..1; no gradient goes to the second."""
        with torch.autocast(sr_image.device.type, enabled=False):
            return self.network(sr_image.float() * 2 - 1, hr_image.float() * 2 - 1).mean()


def open_perceptual(options: Perceptual, trained: bool = True) -> nn.Module | None:
    """The perceptual loss with its weights; None if it is off, or compares the discriminator's own features.

    Args:
        options: which.
        trained: False for weights that know nothing, to see what the loss takes in time and memory.

    Raises:
        SrganError: the weights cannot be had; names the file, the places that were searched, and the alternatives.
    """
    if not options.weight or isinstance(options, DiscriminatorFeatures):
        return None
    try:
        if isinstance(options, VggFeatures):
            features = Vgg19(list(options.layers), pretrained.load_weights("vgg19") if trained else random_weights())
            return VggLoss(features, list(options.layers.values()), options.distance)
        return LpipsLoss(lpips_network(options.network.removeprefix("lpips-"), trained))
    except pretrained.WeightsUnavailable as error:
        others = [name for name in ("lpips-squeeze", "vgg19") if name != options.network]
        raise SrganError(
            f"{error}; or set train.losses.perceptual.network to {' or '.join(others)} (other weights), or to discriminator (needs none)"
        ) from error
