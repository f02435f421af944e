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
    """Return a Markdown table of the generators, for the docs. Sizes are those of the default arguments of the factory."""
    lines = [
        f"| `model.name` | architecture | size | weights at x{scale} | receptive field at x{scale} | scales |",
        "|---|---|---|---|---|---|",
    ]
    for network in NETWORKS.values():
        options = {key: value.default for key, value in inspect.signature(network.factory).parameters.items() if key != "scale"}
        size = " ".join(f"`{key}: {value}`" for key, value in options.items())
        model = network.factory(scale=scale)
        weights, reach = parameter_count(model) / 1e6, model.receptive_field
        scales = ", ".join(map(str, network.scales))
        lines.append(f"| `{network.name}` | {network.description} | {size} | {weights:.2f} M | {reach} pixels | {scales} |")
    return "\n".join(lines)


def discriminators_table() -> str:
    """Return a Markdown table of the discriminators, for the docs."""
    lines = ["| `train.discriminator.name` | architecture |", "|---|---|"]
    lines += [f"| `{discriminator.name}` | {discriminator.description} |" for discriminator in DISCRIMINATORS.values()]
    return "\n".join(lines)
