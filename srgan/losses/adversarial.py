"""Adversarial losses and feature matching. Each one is a mean over the batch in float32."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option
from srgan.losses.base import Loss, LossInputs, LossOptions

Mean = Callable[[Tensor], Tensor]


class AdversarialOptions(LossOptions):
    """Options of an adversarial loss."""

    weight: float = option(0.02, "factor in the sum that the generator minimizes. At 0 only the discriminator learns", ge=0)


class AdversarialLoss(nn.Module, ABC):
    """A loss of the generator against the discriminator, together with the loss of the discriminator.

    Subclasses define both as functions of the logits of the HR images (real) and of the SR images (fake).
    """

    BOUNDARY = 0.0  # logits above it mean real

    @abstractmethod
    def generator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the loss of the generator, whose images should be classified as real."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the loss of the discriminator, averaged over real and fake."""

    def compared(self, real: Tensor, fake: Tensor, mean: Mean) -> tuple[Tensor, Tensor]:
        """Return the values that are compared with `BOUNDARY`."""
        return real, fake

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss of the generator. No gradient flows into the logits of the HR images."""
        real, fake = _logits(inputs)
        return self.generator(real.detach(), fake, inputs.mean)

    def discriminator_loss(self, inputs: LossInputs) -> Tensor:
        """Return the loss of the discriminator."""
        return self.discriminator(*_logits(inputs), inputs.mean)

    def accuracy(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Return the shares of the real and of the fake images, or patches, that the discriminator classifies correctly."""
        real, fake = _logits(inputs)
        real, fake = self.compared(real.detach(), fake.detach(), inputs.mean)
        return (real > self.BOUNDARY).float().mean(), (fake < self.BOUNDARY).float().mean()


class VanillaLoss(AdversarialLoss):
    """Binary cross-entropy (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1, and SRGAN, equation 2).

    The generator has the non-saturating form (section 3, and SRGAN, equation 5).
    """

    def discriminator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the cross-entropy of both."""
        real, fake = self.compared(real, fake, mean)
        return (_cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)) / 2

    def generator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the cross-entropy of the fake images with the label real."""
        return _cross_entropy(fake, 1.0)


class RelativisticLoss(VanillaLoss):
    """Relativistic average (Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734, and ESRGAN, Wang et al. 2018, equations 1 and 2).

    A real image should look more real than the average fake image, and the reverse. So a discriminator that is far ahead still gives the
    generator a gradient.
    """

    def compared(self, real: Tensor, fake: Tensor, mean: Mean) -> tuple[Tensor, Tensor]:
        """Return the differences to the mean of the other kind."""
        return real - mean(fake), fake - mean(real)

    def generator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the loss of the discriminator with exchanged roles."""
        return self.discriminator(fake, real, mean)


class LeastSquaresLoss(AdversarialLoss):
    """Least squares (Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9)."""

    BOUNDARY = 0.5

    def discriminator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the squared distances of real to 1 and of fake to 0."""
        return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the squared distance of fake to 1."""
        return ((fake - 1) ** 2).mean() / 2


class HingeLoss(AdversarialLoss):
    """Hinge loss (Lim and Ye 2017, https://arxiv.org/abs/1705.02894)."""

    def discriminator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the distances of real to above 1 and of fake to below -1."""
        return (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor, mean: Mean) -> Tensor:
        """Return the negative mean of fake."""
        return -fake.mean()


class FeatureMatchingOptions(LossOptions):
    """Options of the feature matching."""

    weight: float = option(0.5, "factor of the loss in the sum that the generator minimizes. 0 turns it off", ge=0)


class FeatureMatchingLoss(nn.Module):
    """L1 distance of the discriminator's features of the SR and the HR image, averaged over the layers.

    Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 3.1, in the pairwise form of pix2pixHD (Wang et al. 2018, equation 4).
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the distance. No gradient flows into the features of the HR image."""
        assert inputs.fake
        assert inputs.real
        pairs = zip(inputs.fake[1], inputs.real[1], strict=True)
        return torch.stack([functional.l1_loss(fake.float(), real.detach().float()) for fake, real in pairs]).mean()


def _logits(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    assert inputs.fake
    assert inputs.real
    return inputs.real[0].float(), inputs.fake[0].float()


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


_adversarial = partial(Loss, config=AdversarialOptions, needs_discriminator=True, trains_discriminator=True)
VANILLA = _adversarial("vanilla", "Adversarial loss: binary cross-entropy (Goodfellow et al. 2014).", VanillaLoss)
RELATIVISTIC = _adversarial("relativistic", "Adversarial loss: relativistic average, as in ESRGAN (Wang et al. 2018).", RelativisticLoss)
LEAST_SQUARES = _adversarial("lsgan", "Adversarial loss: least squares (Mao et al. 2017).", LeastSquaresLoss)
HINGE = _adversarial("hinge", "Adversarial loss: hinge (Lim and Ye 2017).", HingeLoss)
FEATURE_MATCHING = Loss(
    "feature_matching",
    "Perceptual loss on the features of the discriminator. It needs no downloaded weights (Salimans et al. 2016).",
    FeatureMatchingLoss,
    FeatureMatchingOptions,
    needs_discriminator=True,
)
