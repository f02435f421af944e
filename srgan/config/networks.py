"""Sections ``model`` and ``train.discriminator``: one of the registered networks each. Their options stand in the networks' own files."""

from typing import Annotated, ClassVar

from srgan.config.base import Component, option
from srgan.config.choice import component

NETWORKS, DISCRIMINATORS = "srgan.models.registry:NETWORKS", "srgan.models.registry:DISCRIMINATORS"


class DiscriminatorConfig(Component):
    """The options that every discriminator has."""

    batch_norm: ClassVar[bool] = False  # an output depends on the other images of the batch

    learning_rate: float = option(1.0e-4, "learning rate of the discriminator", gt=0)
    pretrained: str = option("scratch", "scratch or a file to start from: a checkpoint of stage train or a third-party file", min_length=1)

    @property
    def smallest_patch(self) -> int:
        """Side of the smallest HR patch in pixels, since the network halves the resolution several times."""
        return 16


Model = Annotated[Component, component(NETWORKS)]
Discriminator = Annotated[DiscriminatorConfig, component(DISCRIMINATORS)]
