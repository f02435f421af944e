"""The registry of generators and discriminators. A new network is one file and one line here."""

import inspect
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srgan.config.base import Component, options_of
from srgan.config.networks import DiscriminatorConfig
from srgan.models.compact import COMPACT_NETWORK
from srgan.models.discriminators import PATCH, UNET, VGG
from srgan.models.nafnet import NAFNET_NETWORK
from srgan.models.network import Discriminator, Generator, Network
from srgan.models.realplksr import REALPLKSR_NETWORK
from srgan.models.rrdb import RRDB_NETWORK
from srgan.models.span import SPAN_NETWORK
from srgan.models.spandrel import SPANDREL_NETWORK
from srgan.models.srcnn import SRCNN_NETWORK
from srgan.models.srresnet import SRRESNET_NETWORK
from srgan.models.swinir import SWINIR_NETWORK

_COUNTED = 64  # LR pixels of a side of the image whose operations are counted, a multiple of each `Generator.multiple_of`

# The weights of a file are compared with the networks in this order.
NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        COMPACT_NETWORK,
        SRRESNET_NETWORK,
        RRDB_NETWORK,
        SRCNN_NETWORK,
        NAFNET_NETWORK,
        SPAN_NETWORK,
        REALPLKSR_NETWORK,
        SWINIR_NETWORK,
        SPANDREL_NETWORK,  # last: it opens what the others do not know
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


def build_generator(name: str, **config: Any) -> Generator:
    """Return a generator with random weights.

    Args:
        name: a name in `NETWORKS`.
        config: arguments of its class such as `scale` and, for gray images, `channels=1`.

    Returns:
        The network: `(N, channels, H, W)` float32 in 0..1 to `(N, channels, scale * H, scale * W)`.

    Raises:
        KeyError: no generator has this name.

    Example:
        >>> import torch
        >>> from srgan import build_generator
        >>> model = build_generator("compact", scale=2, features=8, depth=1)
        >>> model(torch.zeros(1, 3, 10, 10)).shape
        torch.Size([1, 3, 20, 20])
    """
    return NETWORKS[name].factory(**config)


def build_discriminator(name: str, **config: Any) -> nn.Module:
    """Return a discriminator with random weights.

    Args:
        name: a name in `DISCRIMINATORS`.
        config: arguments of its class such as `features`.

    Returns:
        The network: `(N, 3, H, W)` float32 in 0..1 to its logits, higher for images that look real, and a list of its features.

    Raises:
        KeyError: no discriminator has this name.

    Example:
        >>> import torch
        >>> from srgan import build_discriminator
        >>> logits, features = build_discriminator("unet", features=4)(torch.zeros(1, 3, 16, 16))
        >>> logits.shape
        torch.Size([1, 1, 16, 16])
    """
    return DISCRIMINATORS[name].factory(**config)


def create_generator(config: Component, scale: int, keep_luma: bool = False, channels: int = 3) -> Generator:
    """Return the generator of a section ``model`` of ``params.yaml`` with random weights.

    Args:
        config: the section.
        scale: HR size / LR size.
        keep_luma: the network adds colours alone, see `srgan.models.luma.keep_luma`. Only with scale 1.
        channels: of the images, 3 or 1.
    """
    generator = build_generator(config.name, scale=scale, **options_of(config), **({} if channels == 3 else {"channels": channels}))
    generator.keep_luma = keep_luma and scale == 1
    return generator


def create_discriminator(config: DiscriminatorConfig) -> nn.Module:
    """Return the discriminator of a section ``train.discriminator`` of ``params.yaml`` with random weights."""
    options = options_of(config)
    del options["learning_rate"], options["pretrained"]
    return build_discriminator(config.name, **options)


def supports_half(model: nn.Module) -> bool:
    """Return whether float16 is enough for a generator. See `srgan.models.network.Network.half`."""
    for network in NETWORKS.values():
        if isinstance(model, Generator) and type(model) is network.factory:
            return network.supports_half(model)
    return True  # a network outside of the registry


def architecture_of(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the name of a generator and the arguments of `build_generator` that build it, see `Generator.arguments`."""
    assert isinstance(model, Generator)
    return next(network.name for network in NETWORKS.values() if type(model) is network.factory), model.arguments()


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def outline(network: Network, scale: int) -> Generator:
    """Return a generator of the default size without memory for its weights, to count them and its operations.

    Args:
        network: an entry of `NETWORKS`.
        scale: HR size / LR size. A network without this scale gets its first one.
    """
    with torch.device("meta"):
        return network.factory(scale=scale if scale in network.scales else network.scales[0]).eval()


def flops_per_megapixel(model: Generator) -> float:
    """Return the FLOPs of convolutions and matrix products per megapixel of the result. A multiplication with an addition counts as two.

    Args:
        model: from `outline`.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.empty(1, 3, _COUNTED, _COUNTED, device="meta"))
    return counter.get_total_flops() * 1e6 / (_COUNTED * model.scale) ** 2


def networks_table(scale: int = 4) -> str:
    """Return a Markdown table of the generators for the docs, at `scale` or the first scale of the network.

    Sizes are those of the default arguments of the factory.
    """
    lines = [
        f"| `model.name` | architecture | size | weights at x{scale} | FLOPs per megapixel at x{scale} | receptive field at x{scale} "
        "| scales |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in NETWORKS.values():
        if network.from_weights:
            continue
        options = {
            key: value.default for key, value in inspect.signature(network.factory).parameters.items() if key not in ("scale", "channels")
        }
        size = " ".join(f"`{key}: {value}`" for key, value in options.items())
        model = outline(network, scale)
        other = "" if model.scale == scale else f" (x{model.scale})"
        weights, reach = f"{parameter_count(model) / 1e6:.2f} M{other}", f"{model.receptive_field} pixels{other}"
        flops = f"{flops_per_megapixel(model) / 1e9:,.0f} G{other}"
        scales = ", ".join(map(str, network.scales))
        lines.append(f"| `{network.name}` | {network.description} | {size} | {weights} | {flops} | {reach} | {scales} |")
    return "\n".join(lines)


def discriminators_table() -> str:
    """Return a Markdown table of the discriminators for the docs."""
    lines = ["| `train.discriminator.name` | architecture |", "|---|---|"]
    lines += [f"| `{discriminator.name}` | {discriminator.description} |" for discriminator in DISCRIMINATORS.values()]
    return "\n".join(lines)
