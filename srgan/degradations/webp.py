"""WebP compression by Pillow's libwebp."""

import io
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from PIL import Image

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.by_image import by_image
from srgan.utils.errors import SrganError

MAX_SIDE = 16383  # pixels, of the format


class WebpOptions(StepOptions):
    """Compress as lossy WebP and decompress."""

    quality: Annotated[Range, within(0, 100)] = option((30, 95), "lowest and highest quality of libwebp, 0 to 100")


def _draw(options: WebpOptions, state: Drawing) -> Drawn:
    low, high = options.quality
    return {"quality": state.draws.integer(round(low), round(high))}


def _compressed(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    if max(image.shape) > MAX_SIDE:
        raise SrganError(f"an image of {image.shape[1]} x {image.shape[0]} pixels exceeds WebP's {MAX_SIDE} pixels a side. Cut it first")
    file = io.BytesIO()
    Image.fromarray(image).save(file, "webp", quality=drawn["quality"])
    return np.array(Image.open(file).convert("RGB"))


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    return by_image(batch, drawn, _compressed)


WEBP = Degradation("webp", "Lossy WebP compression at a random quality, by libwebp.", WebpOptions, _draw, _apply, ahead=True)
