"""Upscale an image with a torch generator."""

from typing import Any

import numpy as np
import torch

from srgan.inference.tiling import Padding, upscale_tiled

TILE = 768  # LR pixels of a side


@torch.inference_mode()
def upscale(model: Any, lr_image: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Upscale an image on the device of the model.

    Args:
        model: a generator of `srgan.models`, in evaluation mode.
        lr_image: `(H, W, 3)` uint8.
        tile: side of the tiles for images with more pixels than a tile.

    Returns:
        `(scale * H, scale * W, 3)` uint8, clipped and rounded.
    """
    device = next(model.parameters()).device

    def run(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float().div_(255)
        sr_image = model(pixels)[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return sr_image.permute(1, 2, 0).cpu().numpy()

    padding: Padding = getattr(model, "padding", "edge")
    return upscale_tiled(run, lr_image, model.scale, tile, model.receptive_field, getattr(model, "multiple_of", 1), padding)
