"""Colour hints of a user: strokes on a transparent image, painted into a grey image before it is colourized."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from srgan.images.alpha import WHITE
from srgan.images.read import DecodedImage, open_image
from srgan.utils.errors import SrganError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
_MIN_CHROMA = 0.02  # largest difference of a channel from the luma, in 0..1. Strokes below it are grey and give no hint


def to_grey(image: DecodedImage) -> DecodedImage:
    """Return an image with the luma of its pixels (BT.601), `(H, W)` of the same type."""
    return replace(image, pixels=cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)) if image.pixels.ndim == 3 else image


def paint_hints(image: DecodedImage, hints: str | Path) -> DecodedImage:
    """Give the pixels of a grey image the colours of strokes. Their luma stays the same.

    A colour that does not fit the luma is reduced towards grey: black and white take no colour.

    Args:
        image: `(H, W)` pixels.
        hints: file of an image of the same size. A pixel of at least half opacity is a hint.

    Returns:
        The image with `(H, W, 3)` pixels of the same type.

    Raises:
        SrganError: the file has another size, no transparency or no coloured stroke.
    """
    strokes, (height, width) = open_image(hints), image.pixels.shape
    if strokes.alpha is None:
        raise SrganError(f"{hints}: has no transparency, so every pixel would be a hint. Save the strokes alone, on a transparent layer")
    if strokes.alpha.shape != (height, width):
        size = "x".join(map(str, reversed(strokes.alpha.shape)))
        raise SrganError(f"{hints}: has {size} pixels, but {image.name} has {width}x{height}. Draw the hints on an image of the same size")
    visible = strokes.alpha >= WHITE[strokes.alpha.dtype] / 2
    colours = np.atleast_3d(strokes.pixels)[visible].astype(np.float32) / np.float32(WHITE[strokes.pixels.dtype])
    colours = np.broadcast_to(colours, (len(colours), 3))
    chroma = colours - (colours @ LUMA)[:, None]
    if not (np.abs(chroma) > _MIN_CHROMA).any():
        raise SrganError(f"{hints}: has no coloured stroke, so there is nothing to follow. Draw some, or leave out --hints")
    white = np.float32(WHITE[image.pixels.dtype])
    luma = image.pixels[visible].astype(np.float32)[:, None] / white
    room = np.where(chroma > 0, 1 - luma, luma)
    fit = np.minimum((room / np.maximum(np.abs(chroma), 1e-6)).min(axis=1, keepdims=True), 1)
    pixels = cv2.cvtColor(image.pixels, cv2.COLOR_GRAY2RGB)
    pixels[visible] = np.rint((luma + fit * chroma) * white).astype(pixels.dtype)
    return replace(image, pixels=pixels)
