"""Adversarial losses and feature matching. Every loss is a mean over the batch, computed in float32."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def discriminator_loss(name: str, real_logits: Tensor, fake_logits: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """What the discriminator minimises, averaged over real and fake. `mean` is that of the relativistic losses, over all processes' logits.

    - ``vanilla``: binary cross-entropy (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1; SRGAN, equation 2).
    - ``relativistic``: real should look more real than the average fake, and the reverse (Jolicoeur-Martineau 2018,
      https://arxiv.org/abs/1807.00734; ESRGAN, Wang et al. 2018, equation 1): a discriminator that is far ahead still gives a slope.
    - ``lsgan``: least squares (Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9).
    - ``hinge``: Lim and Ye 2017, https://arxiv.org/abs/1705.02894.
    """
    real, fake = real_logits.float(), fake_logits.float()
    if name == "relativistic":
        real, fake = real - mean(fake), fake - mean(real)
    if name in ("vanilla", "relativistic"):
        return (_binary(real, 1.0) + _binary(fake, 0.0)) / 2
    if name == "lsgan":
        return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2
    if name == "hinge":
        return (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2
    raise KeyError(name)


def adversarial_loss(name: str, real_logits: Tensor, fake_logits: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """What the generator minimises: its images should look real. `real_logits` need no gradient, and matter to ``relativistic`` alone.

    Vanilla is the non-saturating form (Goodfellow et al. 2014, section 3; SRGAN, equation 5); relativistic is ESRGAN's equation 2.
    """
    if name == "relativistic":
        return discriminator_loss(name, real_logits=fake_logits, fake_logits=real_logits, mean=mean)
    fake = fake_logits.float()
    if name == "vanilla":
        return _binary(fake, 1.0)
    if name == "lsgan":
        return ((fake - 1) ** 2).mean() / 2
    if name == "hinge":
        return -fake.mean()
    raise KeyError(name)


def accuracy(name: str, real_logits: Tensor, fake_logits: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> tuple[Tensor, Tensor]:
    """Share of the real and of the fake images, or patches, that the discriminator takes for what they are."""
    real, fake = real_logits.float(), fake_logits.float()
    if name == "relativistic":
        real, fake = real - mean(fake), fake - mean(real)
    middle = 0.5 if name == "lsgan" else 0.0
    return (real > middle).float().mean(), (fake < middle).float().mean()


def _binary(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def feature_matching_loss(fake_features: list[Tensor], real_features: list[Tensor]) -> Tensor:
    """L1 distance of the discriminator's features of the SR image and of its HR image, averaged over the layers.

    Salimans et al. 2016, section 3.1, in the pairwise form of pix2pixHD (Wang et al. 2018, equation 4): a perceptual loss that needs
    no downloaded weights.
    """
    distances = [functional.l1_loss(fake.float(), real.float()) for fake, real in zip(fake_features, real_features, strict=True)]
    return torch.stack(distances).mean()
