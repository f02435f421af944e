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
        lr_image: `(H, W, 3)` uint8 or uint16.
        tile: side of the tiles for images with more pixels than a tile.

    Returns:
        `(scale * H, scale * W, 3)` of the same type, clipped and rounded.
    """
    device, dtype = next(model.parameters()).device, lr_image.dtype
    white = int(np.iinfo(dtype).max)

    def run_grey(image: np.ndarray) -> np.ndarray:
        colours = image.astype(np.float32) / white
        pixels = torch.from_numpy(np.ascontiguousarray(colours @ LUMA)).to(device)[None, None]
        luma = model(pixels)[0, 0].float().clamp(0, 1).cpu().numpy()
        return np.rint(with_chroma(luma, colours) * white).astype(dtype)

    def run(image: np.ndarray) -> np.ndarray:
        stored = image if white == 255 else image.astype(np.int32)  # torch computes little with uint16
        pixels = torch.from_numpy(np.ascontiguousarray(stored)).to(device).permute(2, 0, 1)[None].float().div_(white)
        sr_image = model(pixels)[0].float().clamp(0, 1).mul(white).round().to(torch.uint8 if white == 255 else torch.int32)
        return sr_image.permute(1, 2, 0).cpu().numpy().astype(dtype, copy=False)

    padding: Padding = getattr(model, "padding", "edge")
    one = getattr(model, "channels", 3) == 1
    return upscale_tiled(
        run_grey if one else run, lr_image, model.scale, tile, model.receptive_field, getattr(model, "multiple_of", 1), padding
    )
