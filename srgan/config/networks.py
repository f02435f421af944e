"""Sections ``model`` and ``train.discriminator``: the networks."""

from typing import Annotated, Literal

from srgan.config.base import Component, option
from srgan.config.choice import one_of


class CompactModel(Component):
    """A plain stack of convolutions, see `srgan.models.compact`."""

    features: int = option(32, "channels of the body", ge=1)
    depth: int = option(8, "convolutions of the body", ge=0)


class SRResNetModel(Component):
    """SRGAN's generator (Ledig et al. 2017), see `srgan.models.srresnet`."""

    features: int = option(64, "channels", ge=1)
    depth: int = option(16, "residual blocks", ge=1)
    upsampling: Literal["pixelshuffle", "nearest", "transposed"] = option("pixelshuffle", "pixelshuffle, nearest or transposed")


class RRDBModel(Component):
    """ESRGAN's generator (Wang et al. 2018), see `srgan.models.rrdb`."""

    features: int = option(64, "channels", ge=1)
    growth: int = option(32, "channels that each convolution of a dense block adds", ge=1)
    depth: int = option(23, "blocks", ge=1)


class SRCNNModel(Component):
    """Three convolutions on the bicubic upscaled image (Dong et al. 2014), see `srgan.models.srcnn`."""

    features: int = option(64, "channels after the first convolution", ge=1)


Model = Annotated[
    CompactModel | SRResNetModel | RRDBModel | SRCNNModel,
    one_of(compact=CompactModel, srresnet=SRResNetModel, rrdb=RRDBModel, srcnn=SRCNNModel),
]


class PatchDiscriminator(Component):
    """Classifies each patch (Isola et al. 2017), see `srgan.models.discriminators`."""

    features: int = option(24, "channels of the first layer", ge=1)
    depth: int = option(2, "layers that halve the resolution", ge=1)
    learning_rate: float = option(1.0e-3, "learning rate of the discriminator", gt=0)


class WholeDiscriminator(Component):
    """Classifies the image (``vgg``, SRGAN) or each pixel (``unet``, Real-ESRGAN), see `srgan.models.discriminators`."""

    features: int = option(64, "channels of the first layer", ge=1)
    learning_rate: float = option(1.0e-4, "learning rate of the discriminator", gt=0)


Discriminator = Annotated[
    PatchDiscriminator | WholeDiscriminator, one_of(patch=PatchDiscriminator, vgg=WholeDiscriminator, unet=WholeDiscriminator)
]
