"""Fine-tuning by layer: frozen layers, and learning rates that rise from the first layer to the last."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from srgan.utils.errors import SrganError

ALL_BUT_TAIL = "all but tail"

Groups = list[tuple[float, list[nn.Parameter]]]


def freeze(model: nn.Module, names: Sequence[str]) -> None:
    """Exclude layers from the training. Their batch normalization keeps its statistics.

    Args:
        model: the network in training mode, on its device.
        names: names of layers such as ``conv_first`` or of parts that contain layers such as ``body.0``. ``all but tail`` stands for all
            layers except `srgan.models.network.Generator.tail_layers`.

    Raises:
        SrganError: the network has no layer of a name, or no layer is left to train.
    """
    for name in names:
        if name != ALL_BUT_TAIL and not any(_inside(key, name) for key, _ in model.named_parameters()):
            known = dict.fromkeys(_layer(key) for key, _ in model.named_parameters())
            raise SrganError(f"freeze: the network has no layer '{name}'. Its layers: {', '.join(known)}. Or freeze: [{ALL_BUT_TAIL}]")
    for key, parameter in model.named_parameters():
        if any(not any(_inside(key, part) for part in model.tail_layers) if name == ALL_BUT_TAIL else _inside(key, name) for name in names):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SrganError("freeze: no layer is left to train. Remove a name")
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()


def rate_groups(model: nn.Module, first_layer_rate: float) -> Groups:
    """Return the parameters that are trained, in groups with a factor of the learning rate.

    The factors form a geometric series from the first layer to the last (Clark et al. 2020, "ELECTRA", https://arxiv.org/abs/2003.10555,
    appendix B, after Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2). A block counts as one layer.

    Args:
        model: the network.
        first_layer_rate: factor of the first layer. The last layer has the factor 1. With 1 there is one group.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    for key, parameter in model.named_parameters():
        layers.setdefault(_layer(key) if first_layer_rate != 1 else "", []).append(parameter)
    last = max(len(layers) - 1, 1)
    groups = [(first_layer_rate ** (1 - number / last), layer) for number, layer in enumerate(layers.values())]
    trained = [(factor, [parameter for parameter in layer if parameter.requires_grad]) for factor, layer in groups]
    return [(factor, layer) for factor, layer in trained if layer]


def _inside(key: str, name: str) -> bool:
    """Return whether a parameter is in a layer or part of this name."""
    return f"{key}.".startswith(f"{name}.")


def _layer(key: str) -> str:
    """Return the layer or block of a parameter: ``body.3`` of ``body.3.rdb1.conv1.weight``, ``tail`` of ``tail.weight``."""
    first, *rest = key.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first
