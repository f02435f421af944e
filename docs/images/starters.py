"""Make the picture of docs/starters.md: ``python docs/images/starters.py WEIGHTS RIVAL``.

A row shows a part of a photograph of scikit-image or matplotlib that no starter was trained on: degraded and upscaled by the bicubic
filter, by the weights, and by the rival's weights. The photographs are of CC0 or in the public domain.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image
from skimage import data

from srgan.config.recipe import steps_from_json
from srgan.degradations.bicubic import bicubic_upscale
from srgan.degradations.recipe import Recipe
from srgan.inference.torch_upscale import upscale
from srgan.inference.weights import read_weights

SCALE, SIDE = 4, 256  # pixels of the upscaled part
DOWNSCALE = {"name": "downscale"}


def grace_hopper() -> np.ndarray:
    """Return the photograph of matplotlib, by the US Navy."""
    return np.array(Image.open(cbook.get_sample_data("grace_hopper.jpg")).convert("RGB"))


ROWS = [  # photograph, top and left of the part, steps of the recipe
    (data.astronaut, 40, 130, [DOWNSCALE, {"name": "jpeg", "quality": [50, 50]}]),
    (data.chelsea, 30, 100, [DOWNSCALE, {"name": "noise", "kinds": {"gaussian": 1}, "sigma": [10, 10], "grey": 0}]),
    (
        data.coffee,
        100,
        190,
        [{"name": "blur", "sigma": [1.6, 1.6], "kinds": {"isotropic": 1}}, DOWNSCALE, {"name": "jpeg", "quality": [60, 60]}],
    ),
    (data.rocket, 60, 190, [DOWNSCALE]),
    (grace_hopper, 60, 130, [DOWNSCALE, {"name": "jpeg", "quality": [70, 70]}]),
]


def main() -> None:
    """Write the picture."""
    networks, rows = [read_weights(Path(path))[0].eval() for path in sys.argv[1:]], []
    for photograph, top, left, steps in ROWS:
        hr_image = photograph()[top : top + SIDE, left : left + SIDE]
        lr_image, _ = Recipe(steps_from_json(steps)).degrade(np.ascontiguousarray(hr_image), SCALE, (0,))
        rows.append(np.hstack([bicubic_upscale(lr_image, SCALE), *(upscale(network, lr_image) for network in networks)]))
    target = Path(__file__).with_name("starters.webp")
    Image.fromarray(np.vstack(rows)).save(target, quality=88, method=6)


if __name__ == "__main__":
    main()
