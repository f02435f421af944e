"""Make the pictures and the tables of docs/degradations.md. Run it as ``python docs/images/degradations.py``.

Each picture shows two draws of a step or of a preset at scale 2, and one shows the original. The photograph is public domain, from NASA.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from srgan.config.recipe import Steps, steps_from_json
from srgan.degradations.base import Degradation
from srgan.degradations.presets import PRESETS, presets_table
from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.degradations.registry import DEGRADATIONS, degradations_table

DOCS = Path(__file__).parents[1]
SEEDS = (0, 3)


def steps_for(degradation: Degradation) -> Steps:
    """Return a recipe of one step that ends with the size of the LR image."""
    step, downscale = {"name": degradation.name}, {"name": "downscale"}
    if degradation.name == "downscale":
        return steps_from_json([step])
    return steps_from_json([step, downscale] if "downscale" in degradation.not_after else [downscale, step])


def save(name: str, recipe: Recipe, image: np.ndarray, seeds: tuple[int, ...] = SEEDS) -> None:
    """Write the LR images of a recipe in one picture, one for each seed."""
    inputs = [recipe.degrade(image, 2, (seed,))[0] for seed in seeds]
    Image.fromarray(np.hstack(inputs)).save(DOCS / "images" / "degradations" / f"{name}.webp", quality=88, method=6)


def main() -> None:
    """Write all pictures, and the tables of the page."""
    image = data.astronaut()[:320, 50:370]
    save("original", BICUBIC, image, (0,))
    for degradation in DEGRADATIONS.values():
        if degradation.draw:
            save(degradation.name, Recipe(steps_for(degradation)), image)
    for preset in PRESETS:
        save(f"preset-{preset}", Recipe(preset), image)
    page = DOCS / "degradations.md"
    text = page.read_text(encoding="utf-8")
    for table in (degradations_table(), presets_table()):
        head = table.partition("\n")[0]
        text = re.sub(rf"^{re.escape(head)}\n(?:\|.*\n)*", lambda _, table=table: table + "\n", text, flags=re.M)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
