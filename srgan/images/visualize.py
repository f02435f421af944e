"""Comparison images: regions of several images next to each other."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srgan.images.png import write_png

REGION_SIDE = 96  # HR pixels
MAGNIFICATION = 3
MARGIN, CAPTION_HEIGHT = 6, 22  # pixels


def worst_region(image: np.ndarray, hr_image: np.ndarray, side: int) -> tuple[int, int]:
    """Return top and left of the square with the largest mean error, of `(H, W, 3)` uint8 images.

    Args:
        image: to compare with the ground truth.
        hr_image: ground truth.
        side: of the square in pixels. The square is cut to the size of the image.
    """
    height, width = hr_image.shape[:2]
    window = min(side, width), min(side, height)
    difference = cv2.transform(cv2.absdiff(hr_image, image), np.ones((1, 3), np.float32) / 3)
    loss = cv2.boxFilter(difference, cv2.CV_32F, window, anchor=(0, 0), normalize=True)
    allowed = loss[: height - window[1] + 1, : width - window[0] + 1]
    top, left = np.unravel_index(np.argmax(allowed), allowed.shape)
    return int(top), int(left)


def comparison_row(
    name: str, images: dict[str, np.ndarray], captions: dict[str, str], baseline: np.ndarray, hr_image: np.ndarray
) -> np.ndarray:
    """Return a row of labelled regions: the same square of each image, where the error of `baseline` is largest.

    Args:
        name: of the image, written above the first region.
        images: label -> image, `(H, W, 3)` uint8 in the size of `hr_image`.
        captions: label -> text below the region, if any.
        baseline: upscaled image, `(H, W, 3)` uint8. Rows with the same baseline show the same square.
        hr_image: ground truth, `(H, W, 3)` uint8.

    Returns:
        `(h, w, 3)` uint8.
    """
    side = min(REGION_SIDE, *hr_image.shape[:2])
    top, left = worst_region(baseline, hr_image, side)
    shown = side * MAGNIFICATION
    canvas = Image.new("RGB", (len(images) * (shown + MARGIN) - MARGIN, shown + 2 * CAPTION_HEIGHT), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for column, (label, image) in enumerate(images.items()):
        x = column * (shown + MARGIN)
        region = Image.fromarray(image[top : top + side, left : left + side])
        canvas.paste(region.resize((shown, shown), Image.Resampling.NEAREST), (x, CAPTION_HEIGHT))
        draw.text((x + 2, 3), f"{name}: {label}" if column == 0 else label, "black", font)
        draw.text((x + 2, shown + CAPTION_HEIGHT + 3), captions.get(label, ""), "black", font)
    return np.asarray(canvas)


def write_comparison(path: Path, rows: list[np.ndarray]) -> None:
    """Write rows of regions to one PNG, one below the other."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    write_png(path, np.concatenate(padded))
