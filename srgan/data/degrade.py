"""LR images from HR images, and back up again: MATLAB's bicubic, on which the field's numbers rest."""

import numpy as np
import torch

_KERNEL_REACH = 4  # LR pixels that the bicubic kernel sees beyond the border, and then some


def modcrop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cut the right and bottom rows so that `scale` divides both sides, as the literature does."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def bicubic_downscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Shrink by an integer factor like MATLAB's ``imresize(image, 1/scale)``.

    Cubic kernel with a = -0.5 (Keys, "Cubic convolution interpolation for digital image processing", 1981), widened by `scale`
    against aliasing; borders mirrored including the edge pixel.

    Args:
        image: `(H, W, C)` uint8; `scale` must divide H and W (see `modcrop`).
        scale: 1 or more.

    Returns:
        `(H / scale, W / scale, C)` uint8.
    """
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"{height}x{width} is not divisible by {scale}: apply modcrop first")
    return _resize(image, (height // scale, width // scale), pad=_KERNEL_REACH * scale, kept=_KERNEL_REACH)


def bicubic_upscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge by an integer factor like MATLAB's ``imresize(image, scale)``: the baseline every table starts with.

    Args:
        image: `(H, W, C)` uint8.
        scale: 1 or more.

    Returns:
        `(H * scale, W * scale, C)` uint8.
    """
    height, width = image.shape[:2]
    return _resize(image, (height * scale, width * scale), pad=_KERNEL_REACH, kept=_KERNEL_REACH * scale)


def _resize(image: np.ndarray, size: tuple[int, int], pad: int, kept: int) -> np.ndarray:
    """Resize with `pad` mirrored pixels around the input, and cut the `kept` output pixels they became.

    With `antialias=True` torch has MATLAB's kernel (a = -0.5; without it, -0.75). It renormalises at borders where MATLAB
    mirrors: hence the padding.
    """
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    tensor = torch.from_numpy(padded).permute(2, 0, 1).unsqueeze(0).float()
    resized = torch.nn.functional.interpolate(tensor, size=(size[0] + 2 * kept, size[1] + 2 * kept), mode="bicubic", antialias=True)
    cut = resized[0, :, kept : kept + size[0], kept : kept + size[1]]
    return cut.clamp_(0, 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
