"""Recipes by name. ``params.yaml`` may hold the name or, to change it, the steps."""

from collections.abc import Iterable
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
CODEC = Preset(
    "codec",
    "Bicubic reduction and compression as a video frame. `prepare` makes the inputs before the training.",
    ({"name": "downscale"}, {"name": "codec"}),
)

# The weights, ranges and probabilities of options/train_realesrgan_x4plus.yml of Real-ESRGAN. Its resizes are not antialiased.
_KERNELS = {
    "isotropic": 0.405,
    "anisotropic": 0.225,
    "generalized_isotropic": 0.108,
    "generalized_anisotropic": 0.027,
    "plateau_isotropic": 0.108,
    "plateau_anisotropic": 0.027,
    "sinc": 0.1,
}
_MODES = {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}
_QUALITY = {"name": "jpeg", "quality": (30, 95), "subsampling": {"4:2:0": 1.0}}
REALESRGAN = Preset(
    "realesrgan",
    "Blur, resize, noise and JPEG twice, then ringing (Real-ESRGAN, Wang et al. 2021, with the settings of its published training).",
    (
        {"name": "blur", "kinds": _KERNELS, "size": (7, 21), "sigma": (0.2, 3.0)},
        {"name": "resize", "directions": {"up": 0.2, "down": 0.7, "keep": 0.1}, "factor": (0.15, 1.5), "antialias": False},
        {"name": "noise", "sigma": (1.0, 30.0), "scale": (0.05, 3.0), "grey": 0.4},
        _QUALITY,
        {"name": "blur", "probability": 0.8, "kinds": _KERNELS, "size": (7, 21), "sigma": (0.2, 1.5)},
        {
            "name": "resize",
            "directions": {"up": 0.3, "down": 0.4, "keep": 0.3},
            "factor": (0.3, 1.2),
            "relative_to": "lr_image",
            "antialias": False,
        },
        {"name": "noise", "sigma": (1.0, 25.0), "scale": (0.05, 2.5), "grey": 0.4},
        {
            "name": "shuffle",
            "steps": (
                {
                    "name": "sequence",
                    "steps": (
                        {"name": "downscale", "modes": _MODES, "antialias": False},
                        {"name": "blur", "probability": 0.8, "kinds": {"sinc": 1.0}, "size": (7, 21)},
                    ),
                },
                _QUALITY,
            ),
        },
    ),
)
# The settings of utils_blindsr.py of BSRGAN for x4. The nearest-neighbour reduction by a shifted kernel is left out.
_BSRGAN_BLUR = {"name": "blur", "kinds": {"isotropic": 0.5, "anisotropic": 0.5}, "size": (7, 25), "sigma": (0.1, 2.8)}
BSRGAN = Preset(
    "bsrgan",
    "Blur, resize, noise of several kinds and JPEG in random order, then JPEG (BSRGAN, Zhang et al. 2021).",
    (
        {"name": "resize", "probability": 0.25, "directions": {"down": 1.0}, "factor": (0.5, 0.5), "antialias": False},
        {
            "name": "shuffle",
            "steps": (
                _BSRGAN_BLUR,
                _BSRGAN_BLUR,
                {"name": "resize", "probability": 0.75, "directions": {"down": 1.0}, "factor": (0.125, 1.0), "antialias": False},
                {"name": "downscale", "modes": _MODES, "antialias": False},
                {"name": "noise", "kinds": {"gaussian": 1.0}, "sigma": (2.0, 25.0), "grey": 0.4, "correlated": 0.33},
                _QUALITY | {"probability": 0.9},
                {"name": "noise", "probability": 0.25, "kinds": {"sensor": 1.0}},
            ),
        },
        _QUALITY,
    ),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        BICUBIC,
        GAUSSIAN,
        JPEG,
        REALESRGAN,
        BSRGAN,
        GRAYSCALE,
        GRAYSCALE_HINTS,
        OLD_PHOTO,
        CODEC,
    )
}


def presets_table() -> str:
    """Return a Markdown table of the presets, for the docs."""
    lines = ["| recipe | LR images | steps | two draws at x2 |", "|---|---|---|---|"]
    for preset in PRESETS.values():
        number = f"<br>`{preset.name}-N`: {preset.number[1]} N" if preset.number else ""
        example = f"![{preset.name}](images/degradations/preset-{preset.name}.webp)"
        lines.append(f"| `{preset.name}`{number} | {preset.description} | {_names(preset.steps)} | {example} |")
    return "\n".join(lines)


def _names(steps: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"`{step['name']}`" + (f" ({_names(step['steps'])})" if "steps" in step else "") for step in steps)
