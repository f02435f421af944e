"""Recipes by name. ``params.yaml`` may hold the name or, to change it, the steps."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A named recipe.

    Attributes:
        name: in ``params.yaml``.
        description: one sentence for the docs, with the source.
        steps: as in ``params.yaml``.
        number: step and option that a number at the end of the name fixes, such as ``jpeg-50``.
    """

    name: str
    description: str
    steps: tuple[dict[str, Any], ...]
    number: tuple[str, str] | None = None

    def steps_at(self, number: float) -> tuple[dict[str, Any], ...]:
        """Return the steps with the range of one option reduced to a number."""
        assert self.number
        step, key = self.number
        return tuple(one | {key: (number, number)} if one["name"] == step else one for one in self.steps)


BICUBIC = Preset("bicubic", "MATLAB's bicubic reduction, exact. The standard of the literature.", ({"name": "downscale"},))
GAUSSIAN = Preset(
    "gaussian",
    "Bicubic reduction and Gaussian noise of each colour (DnCNN, Zhang et al. 2017).",
    ({"name": "downscale"}, {"name": "noise", "kinds": {"gaussian": 1.0}, "sigma": (0.0, 50.0), "grey": 0.0}),
    ("noise", "sigma"),
)
GRAYSCALE = Preset(
    "grayscale",
    "Bicubic reduction and three equal channels, for colourisation.",
    ({"name": "downscale"}, {"name": "grayscale"}),
)
JPEG = Preset(
    "jpeg",
    "Bicubic reduction and JPEG compression of quality 10 to 95 with libjpeg's usual chroma (FBCNN, Jiang et al. 2021).",
    ({"name": "downscale"}, {"name": "jpeg", "quality": (10, 95), "subsampling": {"4:2:0": 1.0}}),
    ("jpeg", "quality"),
)
GRAYSCALE_HINTS = Preset(
    "grayscale-hints",
    "As grayscale, with up to eight hints of colour in an image (Zhang et al. 2017, https://arxiv.org/abs/1705.02999).",
    ({"name": "downscale"}, {"name": "grayscale", "hints": (0, 8)}),
)
OLD_PHOTO = Preset(
    "old-photo",
    "A scan of an old print: film grain, fading and damage of the print, blur of the scanner, bicubic reduction and JPEG.",
    (
        {"name": "grain", "probability": 0.8, "sigma": (2.0, 12.0)},
        {"name": "fading", "probability": 0.9},
        {"name": "scratches", "probability": 0.8},
        {"name": "blur", "probability": 0.7, "sigma": (0.3, 1.5)},
        {"name": "downscale"},
        {"name": "jpeg", "probability": 0.8, "quality": (50, 95)},
    ),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        BICUBIC,
        GAUSSIAN,
        JPEG,
        GRAYSCALE,
        GRAYSCALE_HINTS,
        OLD_PHOTO,
    )
}
