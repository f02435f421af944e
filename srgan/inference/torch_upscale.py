"""Upscale an image with a torch generator."""

from typing import Any

import numpy as np
import torch

from srgan.images.hints import LUMA
from srgan.inference.chroma import with_chroma
from srgan.inference.tiling import Padding, upscale_tiled

TILE = 768  # LR pixels of a side


@torch.inference_mode()
def upscale(model: Any, lr_image: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Upscale an image on the device of the model.

    Args:
        model: a generator of `srgan.models`, in evaluation mode. One for gray images upscales the luma.
        lr_image: `(H, W, 3)` uint8.
        tile: side of the tiles for images with more pixels than a tile.

    Returns:
        `(scale * H, scale * W, 3)` uint8, clipped and rounded.
    """
    device = next(model.parameters()).device

    def run_grey(image: np.ndarray) -> np.ndarray:
        colours = image.astype(np.float32) / 255
        pixels = torch.from_numpy(np.ascontiguousarray(colours @ LUMA)).to(device)[None, None]
        luma = model(pixels)[0, 0].float().clamp(0, 1).cpu().numpy()
        return np.rint(with_chroma(luma, colours) * 255).astype(np.uint8)

    def run(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float().div_(255)
        sr_image = model(pixels)[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return sr_image.permute(1, 2, 0).cpu().numpy()

    padding: Padding = getattr(model, "padding", "edge")
    one = getattr(model, "channels", 3) == 1
    return upscale_tiled(
        run_grey if one else run, lr_image, model.scale, tile, model.receptive_field, getattr(model, "multiple_of", 1), padding
    )
