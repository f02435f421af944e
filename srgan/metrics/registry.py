"""The figures that images are scored with: how they are written, and when they are good."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """How a figure is written, and when it is good."""

    label: str
    digits: int
    better: Literal["higher", "lower", "one"]  # one: as near to 1 as can be
    unit: str = ""

    @property
    def title(self) -> str:
        """The label, with the unit if there is one."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


FIGURES = {
    "psnr_y": Figure("PSNR-Y", 2, "higher", "dB"),
    "ssim_y": Figure("SSIM-Y", 4, "higher"),
    "psnr_rgb": Figure("PSNR-RGB", 2, "higher", "dB"),
    "ssim_rgb": Figure("SSIM-RGB", 4, "higher"),
    "lpips": Figure("LPIPS", 4, "lower"),  # on AlexNet, as papers give it
    "lpips_vgg": Figure("LPIPS-VGG", 4, "lower"),
    "lpips_squeeze": Figure("LPIPS-Squeeze", 4, "lower"),
    "color_shift": Figure("colour shift", 2, "lower"),
    "checkerboard": Figure("checkerboard", 3, "lower"),
    "sharpness": Figure("sharpness", 3, "one"),
}


def goodness(figure: str, value: Any) -> Any:
    """A figure, or many, turned so that more is better."""
    better = FIGURES[figure].better
    return value if better == "higher" else -value if better == "lower" else -abs(value - 1)
