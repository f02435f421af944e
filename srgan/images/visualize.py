"""Details of images side by side, for people to look at."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srgan.images.read import write_png

WINDOW = 96  # HR pixels of the side of a detail
MAGNIFICATION = 3
MARGIN, CAPTION = 6, 22  # pixels


def weakest(image: np.ndarray, hr_image: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left of the square that differs most from the original, of `(H, W, 3)` uint8 images; cut where an image is smaller."""
    height, width = hr_image.shape[:2]
    window = min(side, width), min(side, height)
    difference = cv2.transform(cv2.absdiff(hr_image, image), np.ones((1, 3), np.float32) / 3)
    loss = cv2.boxFilter(difference, cv2.CV_32F, window, anchor=(0, 0), normalize=True)
    allowed = loss[: height - window[1] + 1, : width - window[0] + 1]
    top, left = np.unravel_index(np.argmax(allowed), allowed.shape)
    return int(top), int(left)


def strip(name: str, images: dict[str, np.ndarray], captions: dict[str, str], baseline: np.ndarray, hr_image: np.ndarray) -> np.ndarray:
    """A row of labelled details: of the square that `baseline` loses most of.

    Args:
        name: of the image, written on the first detail.
        images: label -> the whole image, `(H, W, 3)` uint8 in the size of `hr_image`.
        captions: label -> what to write below, if anything.
        baseline: an enlargement, `(H, W, 3)` uint8; the same for every row that is to show the same place.
        hr_image: the original, `(H, W, 3)` uint8.

    Returns:
        `(h, w, 3)` uint8.
    """
    side = min(WINDOW, *hr_image.shape[:2])
    top, left = weakest(baseline, hr_image, side)
    shown = side * MAGNIFICATION
    canvas = Image.new("RGB", (len(images) * (shown + MARGIN) - MARGIN, shown + 2 * CAPTION), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for column, (label, image) in enumerate(images.items()):
        x = column * (shown + MARGIN)
        detail = Image.fromarray(image[top : top + side, left : left + side])
        canvas.paste(detail.resize((shown, shown), Image.Resampling.NEAREST), (x, CAPTION))
        draw.text((x + 2, 3), f"{name}: {label}" if column == 0 else label, "black", font)
        draw.text((x + 2, shown + CAPTION + 3), captions.get(label, ""), "black", font)
    return np.asarray(canvas)


def write_strips(path: Path, strips: list[np.ndarray]) -> None:
    """All strips in one PNG, one below the other."""
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    write_png(path, np.concatenate(padded))
