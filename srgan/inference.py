"""Enlarge any image with an exported model, on ONNX Runtime; needs neither torch nor the training code."""

import contextlib
import ctypes
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from srgan.data.images import open_image
from srgan.errors import SrganError
from srgan.files import atomic_file, require
from srgan.tiles import in_tiles

TILE = 256  # LR pixels of a tile's side, its overlap not counted
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
LONGEST = {"WEBP": 16383, "JPEG": 65500}  # pixels a side that the format can hold


def _providers() -> list[str]:
    """CUDA where it can work, and the CPU. Asked for CUDA on a machine without its driver, ONNX Runtime prints pages of errors."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    wanted = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        with contextlib.suppress(OSError):
            ctypes.CDLL(driver)
            wanted.insert(0, "CUDAExecutionProvider")
            onnxruntime.preload_dlls()  # the CUDA libraries that torch brought along
    return wanted


class Upscaler:
    """An exported model, ready to enlarge.

    Args:
        path: an `.onnx` file of contract 1 (docs/onnx.md).
        tile: larger images are cut into tiles of this side, in LR pixels; they overlap by the model's receptive field, so the
            result is that of the whole image.
        threads: that work on one image; 0: one for each core. Several threads may share an `Upscaler`.
    """

    def __init__(self, path: str | Path, tile: int = TILE, threads: int = 0) -> None:
        require(path, "export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=_providers())
        except Exception as error:  # ONNX Runtime's own classes share no public base
            raise SrganError(f"{path}: not a model that ONNX Runtime can load ({str(error).splitlines()[0]})") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        if metadata.get("sr.contract") != "1":
            raise SrganError(
                f"{path}: not a model of contract 1 (sr.contract is {metadata.get('sr.contract')}); export it with: srgan export"
            )
        self.path, self.tile, self.metadata = Path(path), tile, metadata
        self.scale, self.overlap = int(metadata["sr.scale"]), int(metadata["sr.tile_overlap"])

    @property
    def provider(self) -> str:
        """What really runs the model, such as ``CPUExecutionProvider``."""
        return self.session.get_providers()[0]

    def upscale(self, image: np.ndarray, progress: bool = False) -> np.ndarray:
        """Enlarge `(H, W, 3)` uint8 sRGB to `(scale * H, scale * W, 3)` uint8."""
        return in_tiles(self._run, image, self.scale, self.tile, self.overlap, progress)

    def _run(self, image: np.ndarray) -> np.ndarray:
        tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / 255
        (output,) = self.session.run(["output"], {"input": tensor})
        return np.rint(np.clip(output[0].transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)

    def upscale_file(self, source: Path, target: Path) -> None:
        """Enlarge an image file. Rotation is applied, the ICC profile kept, greyscale stays grey, alpha is enlarged apart.

        Raises:
            SrganError: `source` is not a readable image, or `target` has no suffix of `FORMATS`.
        """
        form = FORMATS.get(target.suffix.lower())
        if form is None:
            raise SrganError(f"{target}: no picture format is called '{target.suffix}'; use one of {', '.join(FORMATS)}")
        image = open_image(source)
        longest = max(image.size) * self.scale
        if longest > LONGEST.get(form, longest):
            raise SrganError(f"{target}: {form} ends at {LONGEST[form]} pixels a side, this needs {longest}; use .png or .tif")
        profile = image.info.get("icc_profile")
        enlarged = Image.fromarray(self.upscale(np.asarray(image.convert("RGB")), progress=True))
        if image.mode in ("L", "LA"):
            enlarged = enlarged.convert("L")
        if image.has_transparency_data and form in ("PNG", "WEBP", "TIFF"):
            alpha = image.convert("RGBA").getchannel("A").resize(enlarged.size, Image.Resampling.BICUBIC)
            enlarged.putalpha(alpha)
        keep = {"icc_profile": profile} if profile else {}
        with atomic_file(target) as temporary:
            enlarged.save(temporary, format=form, **({"quality": 95} if form in ("JPEG", "WEBP") else {}), **keep)
