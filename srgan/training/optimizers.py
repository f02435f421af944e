"""The optimizers that ``optimizer`` in ``params.yaml`` chooses from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from srgan.config.optimizers import Adam, AdamW, Muon, Optimizer
from srgan.training.layers import Groups
from srgan.utils.errors import SrganError

BETAS = (0.9, 0.99)  # of Adam, as in the released training code of ESRGAN
COUNTERS = ("step", "weight_sum", "lr_max")  # numbers of a group that are part of the state. They are equal in all groups


def create_optimizer(options: Optimizer, model: nn.Module, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimizer of a network.

    Args:
        options: name and options.
        model: the network, on its device.
        groups: see `parameter_groups`.
        learning_rate: of the first step.

    Raises:
        SrganError: the optimizer needs a package that is missing, or does not fit the network.
    """
    if isinstance(options, Adam | AdamW):
        kind = torch.optim.Adam if isinstance(options, Adam) else torch.optim.AdamW
        return kind(groups, lr=learning_rate, betas=BETAS, fused=True)
    library: Any = _library(options.name)
    if isinstance(options, Muon):
        return _muon(library)([group | {"lr": learning_rate} for group in groups])
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise SrganError(
            "optimizer: schedule_free exports other weights than those that batch normalization took its statistics with. "
            "Choose adamw or a network without batch normalization"
        )
    return library.ScheduleFreeAdamW(groups, lr=learning_rate, betas=BETAS)


def parameter_groups(options: Optimizer, model: nn.Module, by_rate: Groups) -> list[tuple[float, dict[str, Any]]]:
    """Return the groups of parameters for an optimizer, each with its factor of the learning rate.

    Weight decay applies to matrices and kernels, and not to biases, norms and slopes.

    Args:
        options: of the optimizer.
        model: the network.
        by_rate: the trained parameters, see `srgan.training.layers.rate_groups`.
    """
    if isinstance(options, Adam):
        return [(factor, {"params": parameters}) for factor, parameters in by_rate]
    inner = set(inner_weights(model)) if isinstance(options, Muon) else set()
    adamw = {"use_muon": False, "betas": BETAS, "eps": 1e-8} if isinstance(options, Muon) else {}
    found = []
    for factor, parameters in by_rate:
        weights = [parameter for parameter in parameters if parameter.ndim > 1 and parameter not in inner]
        rest = [parameter for parameter in parameters if parameter.ndim < 2]
        found += [(factor, {"params": weights, "weight_decay": options.weight_decay} | adamw)]
        found += [(factor, {"params": rest, "weight_decay": 0.0} | adamw)]
        # The factor 0.2 * sqrt(longer side) gives updates the size of AdamW's, so that all groups share the learning rate (Liu et al.
        # 2025, https://arxiv.org/abs/2502.16982).
        matrices = [parameter for parameter in parameters if parameter in inner]
        muon = {"use_muon": True, "use_adjusted_lr": True, "weight_decay": options.weight_decay}
        found += [(factor, {"params": matrices} | muon)]
    return [(factor, group) for factor, group in found if group["params"]]


def inner_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that Muon updates: of all convolutions and linear layers except the first and the last, which touch the pixels.

    The weight of a convolution is a matrix with a row for each output channel. Convolutions in groups have no such matrix and are left out.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    inner = [layer for layer in layers[1:-1] if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)]
    return [layer.weight for layer in inner]


def _library(name: str) -> Any:
    try:
        import pytorch_optimizer  # an optional package
    except ImportError as error:
        raise SrganError(
            f"optimizer: {name} needs an optional package ({error}). Install it with: pip install 'srgan[optimizers]'"
        ) from error
    return pytorch_optimizer


def _muon(library: Any) -> Any:
    """Return the class of the optimizer, which orthogonalizes in float32 on a CPU.

    The bfloat16 of the library takes 8 to 12 times as long on a CPU without instructions for it: as much as a training step.
    """

    class Float32Muon(library.Muon):
        @staticmethod
        def _orthogonalize(group: dict[str, Any], updates: list[torch.Tensor]) -> list[torch.Tensor]:
            if updates[0].device.type != "cpu":
                return library.Muon._orthogonalize(group, updates)
            function = library.optimizer.utils.matrix.zero_power_via_newton_schulz_5
            matrices = [update.flatten(1) for update in updates]
            return [function(matrix, group["ns_steps"], weights=group["ns_coeffs"], dtype=torch.float32) for matrix in matrices]

    return Float32Muon


def averages(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> list[torch.Tensor] | None:
    """Return the averaged weights of a schedule-free optimizer, in the order of the parameters. None for other optimizers.

    The parameters are the points `y = (1 - beta) * z + beta * x` at which the gradients are taken, and x is the average (Defazio et al.
    2024, https://arxiv.org/abs/2405.15682). `eval()` and `train()` of the library replace y by x and back, but with rounding errors.
    """
    if not any("z" in state for state in optimizer.state.values()):
        return None
    ends = [optimizer.state[parameter].get("z", parameter) for parameter in parameters]
    return list(torch._foreach_lerp(list(parameters), ends, 1 - 1 / BETAS[0]))
