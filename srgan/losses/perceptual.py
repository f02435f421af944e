"""Perceptual losses on pretrained networks. The networks are frozen."""

import logging
from functools import partial
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from srgan.config.base import option, refuse
from srgan.data.download.weights import find_weights, read_weights
from srgan.losses.base import Loss, LossInputs, LossOptions
from srgan.metrics.lpips import lpips_network
from srgan.models.vgg import Vgg19, random_weights, vgg19_layers
from srgan.utils.errors import nearest

# The distance, and the power of a factor of the features by which it grows.
DISTANCES = {"l1": (functional.l1_loss, 1), "mse": (functional.mse_loss, 2)}

log = logging.getLogger(__name__)


class VggOptions(LossOptions):
    """Options of the loss on VGG19."""

    layers: dict[str, float] = option(
        {"conv5_4": 1.0}, "weight of each layer. conv5_4 is before its ReLU, relu5_4 (or vgg54) after it", min_length=1
    )
    distance: Literal["l1", "mse"] = option("l1", "l1 as in ESRGAN, or mse as in SRGAN")

    @model_validator(mode="after")
    def _check(self) -> "VggOptions":
        for name, weight in self.layers.items():
            if name not in vgg19_layers():
                refuse(f"layers.{name}", f"is not a layer of vgg19{nearest(name, list(vgg19_layers()))}")
            if weight < 0:
                refuse(f"layers.{name}", "must be at least 0")
        return self


class VggLoss(nn.Module):
    """Distance of feature maps of VGG19.

    Johnson et al. 2016, https://arxiv.org/abs/1603.08155. SRGAN uses it in equation 5 and ESRGAN in section 3.3.

    The weights of the layers are those for the features of torchvision's network. The factors in the catalogue give the features of
    another network the same magnitude.

    Args:
        layers: weight of each layer, see `srgan.models.vgg.vgg19_layers`.
        distance: ``l1`` or ``mse``.
        trained: False for random weights, which take the same time and memory.

    Attributes:
        substitute: name and SHA-256 of a file with another network than torchvision's. Empty for torchvision's.
    """

    substitute = ""

    def __init__(self, layers: dict[str, float], distance: str, trained: bool = True) -> None:
        super().__init__()
        factors: dict[str, float] = {}
        if trained:
            path, file = find_weights("vgg19", layers)
            if factors := file.factors:
                self.substitute = f"{file.name} {file.sha256}"
                log.info("the loss vgg19 uses %s, with %s times its features", path, ", ".join(str(factors[name]) for name in layers))
        self.features = Vgg19(list(layers), read_weights(path) if trained else random_weights())
        self.distance, power = DISTANCES[distance]
        self.layer_weights = [weight * factors.get(name, 1.0) ** power for name, weight in layers.items()]

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the weighted sum over the layers."""
        with torch.no_grad():
            real = self.features(inputs.hr_image)
        fake = self.features(inputs.sr_image)
        pairs = zip(self.layer_weights, fake, real, strict=True)
        return torch.stack([weight * self.distance(a.float(), b.float()) for weight, a, b in pairs]).sum()


class LpipsLoss(nn.Module):
    """LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924), in float32, which its normalization needs.

    Args:
        network: ``squeeze`` or ``alex``. Training on the network that measures LPIPS (AlexNet) flatters the metric.
        trained: False for random weights, which take the same time and memory.
    """

    def __init__(self, network: str, trained: bool = True) -> None:
        super().__init__()
        self.network = lpips_network(network, trained)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean over the batch."""
        with torch.autocast(inputs.sr_image.device.type, enabled=False):
            return self.network(inputs.sr_image.float() * 2 - 1, inputs.hr_image.float() * 2 - 1).mean()


VGG19 = Loss("vgg19", "Perceptual loss on feature maps of VGG19 (Johnson et al. 2016).", VggLoss, VggOptions, pretrained="vgg19")
LPIPS_SQUEEZE = Loss(
    "lpips_squeeze", "LPIPS on SqueezeNet as a loss (Zhang et al. 2018).", partial(LpipsLoss, "squeeze"), pretrained="squeezenet"
)
LPIPS_ALEX = Loss(
    "lpips_alex", "LPIPS on AlexNet as a loss. AlexNet also measures LPIPS, so the metric improves more than the images.",
    partial(LpipsLoss, "alex"), pretrained="alexnet",
)  # fmt: skip
