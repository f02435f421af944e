"""Images for tests of fine-tuning."""

from pathlib import Path

import numpy as np
from PIL import Image


def photos(folder: Path, count: int, first: int = 0, side: int = 112) -> Path:
    """Write different images of random blobs, as smooth as photographs, with numbers for names. Return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        small = np.random.default_rng(number).integers(0, 256, (14, 14, 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder
