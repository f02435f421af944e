"""Sections ``pretrain.losses`` and ``train.losses``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from srgan.config.base import Section, option, refuse, section
from srgan.config.choice import Choice
from srgan.config.yaml import nearest

PixelLoss = Literal["l1", "mse", "charbonnier"]
WEIGHT = "weight of the loss; 0 turns it off"
PERCEPTUAL = "features that are compared: discriminator, lpips-squeeze, lpips-alex or vgg19"
VGG19_BLOCKS = ((1, 2), (2, 2), (3, 4), (4, 4), (5, 4))  # number of the block, convolutions


class PretrainLosses(Section):
    """The loss of the pixel stage."""

    pixel: PixelLoss = option("l1", "l1, mse or charbonnier")


class WeightedPixelLoss(Section):
    """Distance between the pixels of the SR and the HR image."""

    FLOW: ClassVar[bool] = True
    name: PixelLoss = option("l1", "l1, mse or charbonnier")
    weight: float = option(1.0, WEIGHT, ge=0)


class AdversarialLoss(Section):
    """Loss of the generator against the discriminator, see `srgan.losses.discriminator_loss`."""

    FLOW: ClassVar[bool] = True
    name: Literal["vanilla", "relativistic", "lsgan", "hinge"] = option("relativistic", "vanilla, relativistic, lsgan or hinge")
    weight: float = option(0.02, WEIGHT, ge=0)


class DiscriminatorFeatures(Section):
    """Perceptual loss on the features of the discriminator: needs no downloaded weights."""

    FLOW: ClassVar[bool] = True
    network: Literal["discriminator"] = Field(description=PERCEPTUAL)
    weight: float = option(0.5, WEIGHT, ge=0)


class LpipsFeatures(Section):
    """LPIPS (Zhang et al. 2018) as a loss. Train on SqueezeNet where AlexNet is the metric."""

    FLOW: ClassVar[bool] = True
    network: Literal["lpips-squeeze", "lpips-alex"] = Field(description=PERCEPTUAL)
    weight: float = option(1.0, WEIGHT, ge=0)


class VggFeatures(Section):
    """Perceptual loss on VGG19 (Johnson et al. 2016)."""

    FLOW: ClassVar[bool] = True
    network: Literal["vgg19"] = Field(description=PERCEPTUAL)
    layers: dict[str, float] = option(
        {"conv5_4": 1.0}, "weight of each layer; conv5_4 is before its ReLU, relu5_4 (or vgg54) after it", min_length=1
    )
    distance: Literal["l1", "mse"] = option("l1", "l1 or mse")
    weight: float = option(1.0, WEIGHT, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "VggFeatures":
        valid = [
            f"{kind}{block}{'' if kind == 'vgg' else '_'}{number}"
            for kind in ("conv", "relu", "vgg")
            for block, count in VGG19_BLOCKS
            for number in range(1, count + 1)
        ]
        for name, weight in self.layers.items():
            if name not in valid:
                refuse(f"layers.{name}", f"is not a layer of vgg19{nearest(name, valid)}")
            if weight < 0:
                refuse(f"layers.{name}", "must be at least 0")
        return self


_KINDS: dict[str, type[Section]] = {
    "discriminator": DiscriminatorFeatures,
    "lpips-squeeze": LpipsFeatures,
    "lpips-alex": LpipsFeatures,
    "vgg19": VggFeatures,
}
Perceptual = Annotated[DiscriminatorFeatures | LpipsFeatures | VggFeatures, Choice(lambda: _KINDS, key="network")]


class TrainLosses(Section):
    """The losses of the generator in the GAN stage."""

    pixel: WeightedPixelLoss = section(WeightedPixelLoss, "pixel loss")
    perceptual: Perceptual = option({"network": "discriminator"}, "perceptual loss")
    adversarial: AdversarialLoss = section(AdversarialLoss, "adversarial loss")
    tv: float = option(0.0, "weight of the total variation", ge=0)
