"""The parts of a loss: its options, its inputs and its entry in the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from srgan.config.base import Component, option
from srgan.models.discriminators import Output


class LossOptions(Component):
    """The options that every loss has. A loss with more options declares them in a subclass."""

    FLOW: ClassVar[bool] = True
    weight: float = option(1.0, "factor of the loss in the sum that the generator minimizes. 0 turns it off", ge=0)


@dataclass(frozen=True)
class LossInputs:
    """The tensors that a loss may compare. Images are `(N, 3, H, W)` in 0..1."""

    sr_image: Tensor  # in the precision of the network, not clipped
    hr_image: Tensor  # float32
    lr_image: Tensor  # float32, `(N, 3, H / scale, W / scale)`
    fake: Output | None = None  # output of the discriminator for the SR image: logits and features
    real: Output | None = None  # output of the discriminator for the HR image
    mean: Callable[[Tensor], Tensor] = torch.mean  # over the batches of all processes
    averaged_image: Tensor | None = None  # output of the averaged weights, without a gradient. None if no loss needs it, and in validation


@dataclass(frozen=True)
class Loss:
    """An entry of the registry.

    `factory` takes the options without `name` and `weight`, and returns a module that maps `LossInputs` to a float32 scalar.
    """

    name: str  # in ``params.yaml``, and as ``loss_NAME`` in every log
    description: str  # one sentence for the docs
    factory: Callable[..., nn.Module]
    config: type[LossOptions] = LossOptions
    needs_discriminator: bool = False  # reads `fake` and `real`
    trains_discriminator: bool = False  # the module has `discriminator_loss`, see `srgan.losses.adversarial.AdversarialLoss`
    needs_average: bool = False  # reads `averaged_image`
    pretrained: str = ""  # weights of the catalogue. The factory takes ``trained=False`` for random ones
