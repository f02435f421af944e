"""Image files in and out, as uint8 RGB arrays."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from srgan.errors import SrganError
from srgan.files import atomic_file


def open_image(path: str | Path) -> Image.Image:
    """Open and fully decode an image, its EXIF rotation applied; 16-bit grey becomes 8-bit.

    Raises:
        SrganError: the file is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I"):  # 16-bit grey: Pillow itself would cut it off at 255
                image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
            return ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise SrganError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise SrganError(f"{path}: is a folder, not an image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own messages name the reason ("image file is truncated"), seldom the file.
        reason = "not an image that can be read" if "cannot identify" in str(error) else error
        raise SrganError(f"{path}: {reason}; replace the file or take it out") from error


def read_rgb(path: str | Path) -> np.ndarray:
    """Read an image as `(H, W, 3)` uint8 sRGB; greyscale becomes three equal channels, alpha is dropped."""
    return np.array(open_image(path).convert("RGB"))  # a copy: torch wants to own what it wraps


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write an `(H, W, 3)` or `(H, W)` uint8 array as PNG, atomically."""
    with atomic_file(path) as temporary:
        # Level 1 is nearly three times as fast as the default for a few per cent of size.
        Image.fromarray(image).save(temporary, format="PNG", compress_level=1)
