"""Photographs and batches for tests of degradations."""

import importlib.util
from pathlib import Path

import torch

from srgan.degradations.base import Batch
from srgan.images.read import read_rgb


def photograph(name):
    """Return a photograph of scikit-image, `(H, W, 3)` uint8. Importing that package would take seconds."""
    return read_rgb(Path(importlib.util.find_spec("skimage").origin).parent / "data" / f"{name}.png")


def batch_of(images):
    """Return a batch of images of any sizes."""
    heights, widths = zip(*(image.shape[:2] for image in images), strict=True)
    pixels = torch.full((len(images), 3, max(heights), max(widths)), 0.7)  # anything may stand outside the images
    for one, image in zip(pixels, images, strict=True):
        one[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
    return Batch(pixels, heights, widths)


def images_of(batch):
    """Return the images of a batch as uint8."""
    levels = batch.pixels.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return [one[:height, :width] for one, height, width in zip(levels, batch.heights, batch.widths, strict=True)]
