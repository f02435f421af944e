"""Upscale an image with a torch generator."""

import numpy as np
import torch
from torch import nn

from srgan.inference.tiling import enlarged

TILE = 768  # LR pixels of a side


@torch.inference_mode()
def enlarge(model: nn.Module, lr_image: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Enlarge an `(H, W, 3)` uint8 image, wherever the model is, to `(scale * H, scale * W, 3)` uint8, clipped and rounded.

    Images of more pixels than a square of side `tile` are cut into tiles, see `srgan.inference.tiling.strips`.
    """
    device = next(model.parameters()).device

    def run(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float().div_(255)
        sr_image = model(pixels)[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return sr_image.permute(1, 2, 0).cpu().numpy()

    return enlarged(run, lr_image, model.scale, tile, model.receptive_field)
