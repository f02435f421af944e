"""What the networks are trained on. Every loss is a mean over the batch, computed in float32."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": functional.l1_loss, "mse": functional.mse_loss}


def pixel_loss(name: str, sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """Distance of two `(N, 3, H, W)` batches pixel by pixel: `l1`, or `mse` as in SRGAN (Ledig et al. 2017, equation 4)."""
    return PIXEL_LOSSES[name](sr_image.float(), hr_image)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic average loss of the discriminator (Jolicoeur-Martineau 2018; ESRGAN, Wang et al. 2018, equation 1).

    Real patches should look more real than the average fake one, and the reverse: a discriminator that is far ahead still
    gives a slope, which keeps small runs stable.
    """
    real, fake = real_logits.float(), fake_logits.float()
    return (_binary(real - fake.mean(), 1.0) + _binary(fake - real.mean(), 0.0)) / 2


def adversarial_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The generator's side of `discriminator_loss` (ESRGAN, equation 2). `real_logits` need no gradient."""
    return discriminator_loss(real_logits=fake_logits, fake_logits=real_logits)


def feature_matching_loss(fake_features: list[Tensor], real_features: list[Tensor]) -> Tensor:
    """L1 distance of the discriminator's features of the SR image and of its HR image, averaged over the layers.

    Salimans et al. 2016, section 3.1, in the pairwise form of pix2pixHD (Wang et al. 2018, equation 4): a perceptual loss that needs
    no downloaded weights.
    """
    distances = [functional.l1_loss(fake.float(), real.float()) for fake, real in zip(fake_features, real_features, strict=True)]
    return torch.stack(distances).mean()


def _binary(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
