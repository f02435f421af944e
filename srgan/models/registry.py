"""The generators and discriminators by name."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from srgan.models.compact import Compact
from srgan.models.discriminators import PatchDiscriminator, UnetDiscriminator, VggDiscriminator
from srgan.models.rrdb import RRDB
from srgan.models.srcnn import SRCNN
from srgan.models.srresnet import SRResNet

GENERATORS: dict[str, Callable[..., nn.Module]] = {"compact": Compact, "srresnet": SRResNet, "rrdb": RRDB, "srcnn": SRCNN}

DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"patch": PatchDiscriminator, "vgg": VggDiscriminator, "unet": UnetDiscriminator}


def build_generator(name: str, **config: Any) -> nn.Module:
    """A generator with fresh weights; `config` are the arguments of its class."""
    return GENERATORS[name](**config)


def build_discriminator(name: str, **config: Any) -> nn.Module:
    """A discriminator with fresh weights; `config` are the arguments of its class."""
    return DISCRIMINATORS[name](**config)


def describe(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name of a generator and the arguments that build it again."""
    name = next(name for name, build in GENERATORS.items() if type(model) is build)
    return name, {key: getattr(model, key) for key in inspect.signature(type(model)).parameters}


def parameter_count(model: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters())
