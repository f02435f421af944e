"""The registry of degradations. A new degradation is one file and one line here."""

from srgan.degradations import combine, noise, resize
from srgan.degradations.base import Degradation

DEGRADATIONS: dict[str, Degradation] = {
    degradation.name: degradation
    for degradation in (
        resize.RESIZE,
        resize.DOWNSCALE,
        noise.NOISE,
        combine.SEQUENCE,
        combine.SHUFFLE,
        combine.ONE_OF,
    )
}
