"""The option ``optimizer``: one of these, by ``name``."""

from typing import Annotated, ClassVar

from srgan.config.base import Component, option
from srgan.config.choice import one_of

WEIGHT_DECAY = "decoupled weight decay of the weights of convolutions and linear layers"


class Adam(Component):
    """Adam (Kingma and Ba 2015)."""

    FLOW: ClassVar[bool] = True
    name: str = option("adam", "one of the registered names")  # a default, so that it is left out of the identity


class AdamW(Component):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    FLOW: ClassVar[bool] = True
    weight_decay: float = option(0.01, WEIGHT_DECAY, ge=0)


class ScheduleFree(Component):
    """AdamW that averages its weights instead of lowering the learning rate (Defazio et al. 2024), of `srgan[optimizers]`."""

    FLOW: ClassVar[bool] = True
    weight_decay: float = option(0.0, WEIGHT_DECAY, ge=0)


class Muon(Component):
    """Orthogonal updates of the weights of inner layers, AdamW for the rest (Jordan et al. 2024), of `srgan[optimizers]`."""

    FLOW: ClassVar[bool] = True
    weight_decay: float = option(0.0, WEIGHT_DECAY, ge=0)


Optimizer = Annotated[Adam | AdamW | ScheduleFree | Muon, one_of(adam=Adam, adamw=AdamW, schedule_free=ScheduleFree, muon=Muon)]
EXTRA = ("schedule_free", "muon")  # of the package pytorch-optimizer
