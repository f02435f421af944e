"""The registry of generators and discriminators. A new network is one file, and one line here."""

import inspect
from typing import Any

from torch import nn

from srgan.models.compact import COMPACT
from srgan.models.discriminators import PATCH, UNET, VGG
from srgan.models.network import Discriminator, Network
from srgan.models.rrdb import RRDB_NETWORK
from srgan.models.srcnn import SRCNN_NETWORK
from srgan.models.srresnet import SRRESNET

# The weights of a file are compared with the networks in this order.
NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        COMPACT,
        SRRESNET,
        RRDB_NETWORK,
        SRCNN_NETWORK,
    )
}

DISCRIMINATORS: dict[str, Discriminator] = {
    discriminator.name: discriminator
    for discriminator in (
        PATCH,
        VGG,
        UNET,
    )
}


def build_generator(name: str, **config: Any) -> nn.Module:
    """Return a generator with random weights. `config` has the arguments of its class."""
    return NETWORKS[name].factory(**config)


def build_discriminator(name: str, **config: Any) -> nn.Module:
    """Return a discriminator with random weights. `config` has the arguments of its class."""
    return DISCRIMINATORS[name].factory(**config)


def architecture_of(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the name of a generator and the arguments of `build_generator` that build it."""
    name = next(network.name for network in NETWORKS.values() if type(model) is network.factory)
    return name, {key: getattr(model, key) for key in inspect.signature(type(model)).parameters}


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def networks_table(scale: int = 4) -> str:
    """Return a Markdown table of the generators, for the docs."""
    lines = ["| `model.name` | | scales | weights | receptive field |", "|---|---|---|---|---|"]
    for network in NETWORKS.values():
        weights = parameter_count(network.factory(scale=scale))
        reach = network.receptive_field(scale)
        scales = ", ".join(map(str, network.scales))
        lines.append(f"| `{network.name}` | {network.description} | {scales} | {weights / 1e6:.2f} million | {reach} |")
    return "\n".join(lines)
