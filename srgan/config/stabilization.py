"""Section ``train.stabilization``: methods that keep the discriminator from running ahead of the generator."""

from srgan.config.base import Section, option


class Stabilization(Section):
    """Methods that hold back the discriminator. All are off by default."""

    pause_above: float = option(1.0, "accuracy above which the discriminator pauses, such as 0.9. 1 turns it off", gt=0.5, le=1)
    r1: float = option(0.0, "weight of the gradient penalty at HR images (R1, Mescheder et al. 2018). 0 turns it off", ge=0)
    r2: float = option(0.0, "weight of the gradient penalty at SR images (R2). 0 turns it off", ge=0)
    penalty_every: int = option(16, "steps between two gradient penalties, each of which counts as many times", ge=1)
    noise: float = option(0.0, "standard deviation of noise on the discriminator's images, which falls to 0 at the last step", ge=0, le=1)
    augment_target: float = option(
        0.0, "target of the adaptive augmentation of the discriminator's images (ADA), such as 0.6. 0 turns it off", ge=0, lt=1
    )

    @property
    def enabled(self) -> bool:
        """Return True if a method is on."""
        return bool(self.pauses or self.r1 or self.r2 or self.noise or self.augment_target)

    @property
    def pauses(self) -> bool:
        """Return True if the discriminator may pause."""
        return self.pause_above < 1
