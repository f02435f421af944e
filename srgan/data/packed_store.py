"""Store all training images in flat, memory-mapped files, so that cutting a patch is a copy and never a decode.

Layout of version 4, readable without this module. The folder ``train`` has shards of at most 1 GiB, or of one larger image:

- ``00000.u8``: raw uint8 without header and padding. For each image of the shard the HR pixels `(H, W, 3)` in row-major order, then those
  of its LR variants, each `(H / scale, W / scale, 3)`.
- ``00000.json``: `sha256` and `images` of the shard. Each image has `name`, `offset` (byte of its first HR pixel), `height` and `width`
  (HR), and `sha256` of its HR and LR pixels. The `sha256` of the shard is the SHA-256 of the images' digests (64 hexadecimal digits each)
  in their order. Several processes can therefore compute it image by image.
- ``index.json``: `version`, `scale`, `variants`, `sha256` and `shards`, each with `name`, `bytes`, `images` (their number) and `sha256`.
  `variants` is the number of LR images for each HR image. The training makes the LR patches itself if it is 0. The `sha256` of the store
  is that of the digests of all images in their order, so it does not depend on the shards. A recipe other than bicubic is described by
  `recipe` with `name`, `steps` and `digest`. Its digest follows those of the images in the `sha256` of the store. A store of gray images
  has `channels` with the value 1, and one number a pixel in place of three. A store of 16 bits has `bits` with the value 16, and two bytes
  a number, the lower one first.

Versions 2 and 3 are one shard, ``train.u8`` and ``train.json``, whose index has the keys of both files. Version 2 is the bicubic store
with one LR image for each HR image and without `variants`. Version 3 is that of other recipes.
"""

import math
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srgan.data.manifest import FILE as MANIFEST
from srgan.data.shard_cache import INDEX, ShardCache
from srgan.data.shards import Shard, joined
from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.images.read import to_uint8
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json

VERSION, FORMER_VERSIONS = 4, (2, 3)
FOLDER = "train"
FORMER = "train"  # the only shard of former versions


class Store:
    """A packed store for reading.

    Args:
        folder: prepared folder.
        cache: the shards come from here, and not from the folder.
        only: names of the images to open, instead of all.

    Attributes:
        scale: HR size / LR size.
        recipe: makes the LR images.
        variants: LR images for each HR image. 0 means that the training makes them.
        channels: of the images, 3 or 1.
        dtype: of their numbers, uint8 or uint16.
        white: the largest number.
        sha256: digest of the images and of the recipe.
        names: of the images.
        sizes: height and width of the HR images, `(N, 2)` int64.
        shard_of: number of the shard of each image, `(N,)` int64.
        offsets: byte of the first HR pixel of each image in its shard, `(N,)` int64.
        shards: the files.
        starts: byte at which each shard begins if they follow each other, and their end, int64.
        size: bytes of all pixels.

    Raises:
        SrganError: the store is missing, damaged or of another version.
    """

    def __init__(self, folder: str | Path, cache: ShardCache | None = None, only: Container[str] | None = None) -> None:
        folder, self.cache, self._only = Path(folder), cache, only
        self.folder = cache.folder if cache else folder / FOLDER
        path = self.folder / INDEX
        if not cache and not path.exists() and (folder / f"{FORMER}.json").exists():
            self.folder, path = folder, folder / f"{FORMER}.json"
        index = read_json(path, made_by="prepare")
        version = index.get("version") if isinstance(index, dict) else None
        if version not in (VERSION, *FORMER_VERSIONS):
            raise SrganError(f"{path}: store version {version}, this program reads 2, 3 and 4. Run: dvc repro -sf prepare")
        self.scale: int = index["scale"]
        self.variants: int = index.get("variants", 1)
        self.channels: int = index.get("channels", 3)
        self.dtype = np.dtype("<u2" if index.get("bits") == 16 else "u1")
        self.white = int(np.iinfo(self.dtype).max)
        self.recipe = Recipe.from_description(index["recipe"], str(path)) if "recipe" in index else BICUBIC
        self.sha256: str = index["sha256"]
        self.shards = list(self._read_shards(index) if version == VERSION else [self._shard(FORMER, index["images"])])
        self.starts = np.cumsum([0, *(shard.bytes for shard in self.shards)])
        self.size = int(self.starts[-1])
        rows = [row for shard in self.shards for row in shard.rows]
        self.names: list[str] = [row["name"] for row in rows]
        self.sizes = np.array([(row["height"], row["width"]) for row in rows], np.int64).reshape(-1, 2)
        self.shard_of = np.repeat(np.arange(len(self.shards)), [len(shard.rows) for shard in self.shards])
        self.offsets = np.array([row["offset"] for row in rows], np.int64)
        self._places = list(zip(self.shard_of.tolist(), self.offsets.tolist(), self.sizes.tolist(), strict=True))
        self._maps: dict[int, np.ndarray] = {}

    def _read_shards(self, index: dict[str, Any]) -> Iterator[Shard]:
        for listed in index["shards"]:
            path = self.folder / f"{listed['name']}.json"
            found = read_json(path, made_by="prepare")
            rows = found.get("images") if isinstance(found, dict) else None
            if not rows or joined(rows) != listed["sha256"]:
                raise SrganError(f"{path}: not the index of this shard. Make it again with: dvc repro -sf prepare")
            yield self._shard(listed["name"], rows)

    def _shard(self, name: str, rows: list[dict[str, Any]]) -> Shard:
        rows = rows if self._only is None else [row for row in rows if row["name"] in self._only]
        shard = Shard.of(name, rows, self.scale, self.variants, self.channels * self.dtype.itemsize)
        path = self.folder / shard.pixels
        if not self.cache and path.stat().st_size < shard.bytes:
            raise SrganError(f"{path}: shorter than its index requires. Make it again with: dvc repro -sf prepare")
        return shard

    @property
    def hr(self) -> "Views":
        """Views of the HR images in the mapped files, `(H, W, channels)` of `dtype`."""
        return Views(len(self.names), self._hr)

    @property
    def lr_variants(self) -> "Views":
        """Views of the LR images, `(variants, H / scale, W / scale, channels)` of `dtype`."""
        return Views(len(self.names), self._lr)

    @property
    def lr(self) -> list[np.ndarray]:
        """Return the first LR variant of each image, `(H / scale, W / scale, channels)`. Empty if the training makes the LR patches."""
        return [variants[0] for variants in self.lr_variants if len(variants)]

    def _hr(self, number: int) -> np.ndarray:
        shard, offset, (height, width) = self._places[number]
        return self._view(shard, offset, (height, width, self.channels))

    def _lr(self, number: int) -> np.ndarray:
        shard, offset, (height, width) = self._places[number]
        shape = (self.variants, height // self.scale, width // self.scale, self.channels)
        return self._view(shard, offset + self.channels * height * width * self.dtype.itemsize, shape)

    def _view(self, shard: int, start: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.pixels(shard)[start : start + math.prod(shape) * self.dtype.itemsize].view(self.dtype).reshape(shape)

    def pixels(self, shard: int) -> np.ndarray:
        """Return the mapped pixels of a shard, `(bytes,)` uint8. A missing one is fetched by the cache."""
        found = self._maps.get(shard)
        if found is None:
            one = self.shards[shard]
            path = self.cache.fetch(one) if self.cache else self.folder / one.pixels
            found = self._maps[shard] = np.asarray(np.memmap(path, np.uint8, "r"))  # slices of a plain array are faster
        return found

    def keep(self, shards: Sequence[int], ahead: Sequence[int]) -> None:
        """Tell the cache, if there is one, which shards are in use and which follow. It fetches them and removes the others."""
        if self.cache:
            used = list(dict.fromkeys((*shards, *ahead)))
            for shard in set(self._maps) - set(used):
                del self._maps[shard]
            self.cache.keep([self.shards[shard] for shard in used])

    def verify(self) -> None:
        """Compare the pixels of every image with its digest, at 0.5 to 2 GB per second. A cache has compared what it fetched.

        Raises:
            SrganError: an image is damaged.
        """
        if not self.cache:
            for shard in self.shards:
                shard.verify(self.folder / shard.pixels)


def open_store(prepared: Path, address: str = "") -> Store:
    """Return the store of a prepared folder, or the copy of it in a bucket.

    Args:
        prepared: the folder. It needs the manifest alone if there is an address.
        address: of the copy, such as ``s3://bucket/train``.

    Raises:
        SrganError: there is none, or the copy is that of another folder.
    """
    if not address:
        return Store(prepared)
    cache, path = ShardCache(address), prepared / MANIFEST
    store, manifest = Store(prepared, cache), read_json(path, made_by="prepare")
    if manifest.get("store_sha256", store.sha256) != store.sha256:
        raise SrganError(f"runtime.store: {cache.address}: not the store that {path} describes. Copy data/prepared/train there again")
    return store


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """Return an image of a store, `(H, W, channels)` of any type, as `(H, W, 3)` uint8, for pages and measurements."""
    return np.ascontiguousarray(np.broadcast_to(to_uint8(pixels), (*pixels.shape[:2], 3)))


class Views(Sequence[np.ndarray]):
    """Arrays that are made when they are used: a list of 100,000 of them would take a second."""

    def __init__(self, length: int, view: Callable[[int], np.ndarray]) -> None:
        self._length, self._view = length, view

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self._view(each) for each in range(self._length)[number]]
        return self._view(range(self._length)[number])


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
