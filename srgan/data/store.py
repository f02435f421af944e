"""Packed pixels: every training image in one flat file, memory-mapped, so that a crop is a copy and never a decode.

Layout (version 1), readable without this module:

- ``train.u8``: raw uint8, image after image, for each first the HR pixels `(H, W, 3)` in row-major order, then the LR pixels
  `(H / scale, W / scale, 3)`.
- ``train.json``: `version`, `scale`, `sha256` of the pixel file, and `images`: for each `name`, `offset` (byte of its first HR
  pixel), `height` and `width` (HR).
"""

from pathlib import Path

import numpy as np

from srgan.errors import SrganError
from srgan.files import read_json, sha256, write_json

VERSION = 1


class StoreWriter:
    """Append aligned HR/LR pairs; memory use is one image. Use as a context manager."""

    def __init__(self, folder: str | Path, scale: int) -> None:
        self.folder, self.scale = Path(folder), scale
        self.images: list[dict[str, int | str]] = []
        self.pixels = self.folder / "train.u8"

    def __enter__(self) -> "StoreWriter":
        self.file = self.pixels.open("wb")
        return self

    def add(self, name: str, hr_image: np.ndarray, lr_image: np.ndarray) -> None:
        """Add one pair: `(H, W, 3)` and `(H / scale, W / scale, 3)`, uint8."""
        height, width = hr_image.shape[:2]
        if lr_image.shape != (height // self.scale, width // self.scale, 3) or height % self.scale or width % self.scale:
            raise ValueError(f"{name}: HR {hr_image.shape} and LR {lr_image.shape} are not aligned at x{self.scale}")
        self.images.append({"name": name, "offset": self.file.tell(), "height": height, "width": width})
        self.file.write(np.ascontiguousarray(hr_image))
        self.file.write(np.ascontiguousarray(lr_image))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.file.close()
        if kind is None:  # the index comes last: without it there is no store
            index = {"version": VERSION, "scale": self.scale, "sha256": sha256(self.pixels), "images": self.images}
            write_json(self.folder / "train.json", index)


class Store:
    """Read side: `hr[i]` and `lr[i]` are views into the mapped file, `(H, W, 3)` uint8."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        index = read_json(folder / "train.json", made_by="prepare")
        version = index.get("version") if isinstance(index, dict) else None
        if version != VERSION:
            raise SrganError(f"{folder / 'train.json'}: store version {version}, this program reads {VERSION}; run: dvc repro -sf prepare")
        self.scale: int = index["scale"]
        self.sha256: str = index["sha256"]
        self.names: list[str] = [image["name"] for image in index["images"]]
        pixels = np.memmap(folder / "train.u8", dtype=np.uint8, mode="r")
        self.hr: list[np.ndarray] = []
        self.lr: list[np.ndarray] = []
        for image in index["images"]:
            self.hr.append(self._view(pixels, image["offset"], image["height"], image["width"]))
            end = image["offset"] + self.hr[-1].size
            self.lr.append(self._view(pixels, end, image["height"] // self.scale, image["width"] // self.scale))

    @staticmethod
    def _view(pixels: np.ndarray, offset: int, height: int, width: int) -> np.ndarray:
        size = height * width * 3
        if offset + size > pixels.size:
            raise SrganError(f"{pixels.filename}: shorter than its index says; make it again with: dvc repro -sf prepare")  # type: ignore[attr-defined]
        return pixels[offset : offset + size].reshape(height, width, 3)
