"""Store all training images in one flat, memory-mapped file, so that cutting a patch is a copy and never a decode.

Layout (version 2), readable without this module:

- ``train.u8``: raw uint8 without header and padding. For each image the HR pixels `(H, W, 3)` in row-major order, then the LR pixels
  `(H / scale, W / scale, 3)`.
- ``train.json``: `version`, `scale`, `images` and `sha256`. Each image has `name`, `offset` (byte of its first HR pixel), `height` and
  `width` (HR), and `sha256` of its HR and LR pixels. The `sha256` of the store is the SHA-256 of the images' digests (64 hexadecimal
  digits each) in their order. Several processes can therefore compute it image by image.
"""

import hashlib
import shutil
import threading
from pathlib import Path

import numpy as np

from srgan.utils.errors import SrganError
from srgan.utils.files import read_json, write_json

VERSION = 2
PIXELS, INDEX = "train.u8", "train.json"
REPAIR = "Make it again with: dvc repro -f prepare"


def pack(path: Path, hr_image: np.ndarray, lr_image: np.ndarray) -> str:
    """Write an image in the store's layout, `(H, W, 3)` and `(H / scale, W / scale, 3)` uint8, and return its SHA-256."""
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        for pixels in (hr_image, lr_image):
            block = np.ascontiguousarray(pixels).data
            file.write(block)
            checksum.update(block)
    return checksum.hexdigest()


class StoreWriter:
    """Join packed images to a store, in the order of the calls. Use as a context manager."""

    def __init__(self, folder: str | Path, scale: int) -> None:
        self.folder, self.scale = Path(folder), scale
        self.images: list[dict[str, int | str]] = []

    def __enter__(self) -> "StoreWriter":
        self.file = (self.folder / PIXELS).open("wb")
        return self

    def add(self, name: str, height: int, width: int, packed: Path, checksum: str) -> None:
        """Append a file of `pack` with an HR image of this size, and delete the file."""
        size = 3 * (height * width + height // self.scale * (width // self.scale))
        if height % self.scale or width % self.scale or packed.stat().st_size != size:
            raise ValueError(f"{name}: {packed} does not hold HR {height}x{width} and LR at x{self.scale}")
        self.images.append({"name": name, "offset": self.file.tell(), "height": height, "width": width, "sha256": checksum})
        with packed.open("rb") as source:
            shutil.copyfileobj(source, self.file, 1 << 18)
        packed.unlink()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.file.close()
        if kind is None:  # the index comes last: a folder without it is not a store
            whole = hashlib.sha256("".join(str(image["sha256"]) for image in self.images).encode()).hexdigest()
            write_json(self.folder / INDEX, {"version": VERSION, "scale": self.scale, "sha256": whole, "images": self.images})


class Store:
    """A packed store for reading. `hr[i]` and `lr[i]` are views into the mapped file, `(H, W, 3)` uint8.

    Raises:
        SrganError: the store is missing, damaged or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        index = read_json(folder / INDEX, made_by="prepare")
        version = index.get("version") if isinstance(index, dict) else None
        if version != VERSION:
            raise SrganError(f"{folder / INDEX}: store version {version}, this program reads {VERSION}. Run: dvc repro -sf prepare")
        self.scale: int = index["scale"]
        self.sha256: str = index["sha256"]
        self.names: list[str] = [image["name"] for image in index["images"]]
        self.path = folder / PIXELS
        self.pixels = np.asarray(np.memmap(self.path, dtype=np.uint8, mode="r"))  # the whole file. Slices of a plain array are faster
        self.hr: list[np.ndarray] = []
        self.lr: list[np.ndarray] = []
        for image in index["images"]:
            self.hr.append(self._view(image["offset"], image["height"], image["width"]))
            end = image["offset"] + self.hr[-1].size
            self.lr.append(self._view(end, image["height"] // self.scale, image["width"] // self.scale))
        self.offsets = np.array([image["offset"] for image in index["images"]], np.int64)
        self._digests: list[str] = [image["sha256"] for image in index["images"]]

    def _view(self, offset: int, height: int, width: int) -> np.ndarray:
        size = height * width * 3
        if offset + size > self.pixels.size:
            raise SrganError(f"{self.path}: shorter than its index requires. Make it again with: dvc repro -sf prepare")
        return self.pixels[offset : offset + size].reshape(height, width, 3)

    def verify(self) -> None:
        """Compare the pixels of every image with its digest, at 0.5 to 2 GB per second.

        Raises:
            SrganError: an image is damaged.
        """
        with self.path.open("rb", buffering=0) as file:  # an unreadable sector of a mapped file would end the process
            for name, offset, hr, lr, expected in zip(self.names, self.offsets, self.hr, self.lr, self._digests, strict=True):
                file.seek(offset)
                checksum, left = hashlib.sha256(), hr.size + lr.size
                try:
                    while left and (block := file.read(min(left, 1 << 20))):
                        checksum.update(block)
                        left -= len(block)
                except OSError as error:
                    raise SrganError(f"{self._damaged(name)} ({error.strerror}). Check the disk. {REPAIR}") from error
                if checksum.hexdigest() != expected:
                    raise SrganError(f"{self._damaged(name)}. {REPAIR}")

    def _damaged(self, name: str) -> str:
        return f"image {name} of {self.path} is damaged"


class Verification:
    """Run `Store.verify` in a thread while the training runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._verify, name="verification", daemon=True)
        self._thread.start()

    def _verify(self) -> None:
        try:
            self._store.verify()
        except Exception as error:  # `check` raises it in the training's thread
            self._error = error

    def check(self, wait: bool) -> None:
        """Raise the error that the verification has found, if any. With `wait`, let it finish first.

        Raises:
            SrganError: an image is damaged.
        """
        if wait:
            self._thread.join()
        if self._error:
            raise self._error
