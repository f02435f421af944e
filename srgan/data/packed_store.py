"""Store all training images in one flat, memory-mapped file, so that cutting a patch is a copy and never a decode.

Layout, readable without this module:

- ``train.u8``: raw uint8 without header and padding. For each image the HR pixels `(H, W, 3)` in row-major order, then those of its LR
  variants, each `(H / scale, W / scale, 3)`.
- ``train.json``: `version`, `scale`, `images` and `sha256`. Each image has `name`, `offset` (byte of its first HR pixel), `height` and
  `width` (HR), and `sha256` of its HR and LR pixels. The `sha256` of the store is the SHA-256 of the images' digests (64 hexadecimal
  digits each) in their order. Several processes can therefore compute it image by image.
- A store of gray images has the key `channels` with the value 1, and one number a pixel in place of three.

Version 2 is the bicubic store with one LR image for each HR image. Version 3 is that of other recipes. Its index has two more keys:
`variants`, the number of LR images for each HR image, and `recipe` with `name`, `steps` and `digest`. The training makes the LR patches
itself if `variants` is 0. The digest of the recipe follows those of the images in the `sha256` of the store.
"""

import hashlib
import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json, write_json

VERSIONS = (2, 3)  # of bicubic stores, of other recipes
PIXELS, INDEX = "train.u8", "train.json"
REPAIR = "Make it again with: dvc repro -f prepare"


class Packed(NamedTuple):
    """A file with one image of a store, the size of its HR image, and its SHA-256."""

    path: Path
    height: int
    width: int
    sha256: str


def pack(path: Path, hr_image: np.ndarray, *lr_images: np.ndarray) -> Packed:
    """Write an image in the store's layout: `(H, W, channels)` and its variants `(H / scale, W / scale, channels)`, uint8."""
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        for pixels in (hr_image, *lr_images):
            block = np.ascontiguousarray(pixels).data
            file.write(block)
            checksum.update(block)
    return Packed(path, hr_image.shape[0], hr_image.shape[1], checksum.hexdigest())


class StoreWriter:
    """Join packed images to a store, in the order of the calls. Use as a context manager.

    Args:
        folder: of the store.
        scale: HR size / LR size.
        recipe: makes the LR images.
        variants: LR images for each HR image. 0 means that the training makes them.
        channels: of all images, 3 or 1.
    """

    def __init__(self, folder: str | Path, scale: int, recipe: Recipe = BICUBIC, variants: int = 1, channels: int = 3) -> None:
        self.folder, self.scale, self.recipe, self.variants, self.channels = Path(folder), scale, recipe, variants, channels
        self.images: list[dict[str, int | str]] = []

    def __enter__(self) -> "StoreWriter":
        self.file = (self.folder / PIXELS).open("wb")
        return self

    def add(self, name: str, packed: Packed) -> None:
        """Append a file of `pack`, and delete it."""
        path, height, width, checksum = packed
        size = self.channels * (height * width + self.variants * (height // self.scale) * (width // self.scale))
        if height % self.scale or width % self.scale or path.stat().st_size != size:
            raise ValueError(f"{name}: {path} does not hold HR {height}x{width} and {self.variants} LR at x{self.scale}")
        self.images.append({"name": name, "offset": self.file.tell(), "height": height, "width": width, "sha256": checksum})
        with path.open("rb") as source:
            shutil.copyfileobj(source, self.file, 1 << 18)
        path.unlink()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.file.close()
        if kind is None:  # the index comes last: a folder without it is not a store
            digests, recipe = "".join(str(image["sha256"]) for image in self.images), self.recipe
            index: dict[str, Any] = {"version": 2, "scale": self.scale}
            if not recipe.is_bicubic:
                digests += recipe.digest
                index |= {"version": 3, "variants": self.variants, "recipe": recipe.describe()}
            index |= {"channels": self.channels} if self.channels != 3 else {}
            index |= {"sha256": hashlib.sha256(digests.encode()).hexdigest(), "images": self.images}
            write_json(self.folder / INDEX, index)


class Store:
    """A packed store for reading.

    Attributes:
        scale: HR size / LR size.
        recipe: makes the LR images.
        variants: LR images for each HR image. 0 means that the training makes them.
        channels: of the images, 3 or 1.
        sha256: digest of the images and of the recipe.
        names: of the images.
        hr: views of the HR images in the mapped file, `(H, W, channels)` uint8.
        lr_variants: views of the LR images, `(variants, H / scale, W / scale, channels)` uint8.

    Raises:
        SrganError: the store is missing, damaged or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        index = read_json(folder / INDEX, made_by="prepare")
        version = index.get("version") if isinstance(index, dict) else None
        if version not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            raise SrganError(f"{folder / INDEX}: store version {version}, this program reads {known}. Run: dvc repro -sf prepare")
        self.scale: int = index["scale"]
        self.variants: int = index.get("variants", 1)
        self.channels: int = index.get("channels", 3)
        self.recipe = Recipe.from_description(index["recipe"], str(folder / INDEX)) if version == 3 else BICUBIC
        self.sha256: str = index["sha256"]
        self.names: list[str] = [image["name"] for image in index["images"]]
        self.path = folder / PIXELS
        self.pixels = np.asarray(np.memmap(self.path, dtype=np.uint8, mode="r"))  # the whole file. Slices of a plain array are faster
        self.hr: list[np.ndarray] = []
        self.lr_variants: list[np.ndarray] = []
        for image in index["images"]:
            height, width = image["height"], image["width"]
            (hr_image,) = self._views(image["offset"], 1, height, width)
            self.hr.append(hr_image)
            self.lr_variants.append(self._views(image["offset"] + hr_image.size, self.variants, height // self.scale, width // self.scale))
        self.offsets = np.array([image["offset"] for image in index["images"]], np.int64)
        self._digests: list[str] = [image["sha256"] for image in index["images"]]

    @property
    def lr(self) -> list[np.ndarray]:
        """Return the first LR variant of each image, `(H / scale, W / scale, channels)`. Empty if the training makes the LR patches."""
        return [variants[0] for variants in self.lr_variants if len(variants)]

    def _views(self, offset: int, count: int, height: int, width: int) -> np.ndarray:
        size = count * height * width * self.channels
        if offset + size > self.pixels.size:
            raise SrganError(f"{self.path}: shorter than its index requires. Make it again with: dvc repro -sf prepare")
        return self.pixels[offset : offset + size].reshape(count, height, width, self.channels)

    def verify(self) -> None:
        """Compare the pixels of every image with its digest, at 0.5 to 2 GB per second.

        Raises:
            SrganError: an image is damaged.
        """
        with self.path.open("rb", buffering=0) as file:  # an unreadable sector of a mapped file would end the process
            for name, offset, hr, lr, expected in zip(self.names, self.offsets, self.hr, self.lr_variants, self._digests, strict=True):
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
