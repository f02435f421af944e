"""Write a packed store shard by shard. A finished shard stays when its program is killed, and is not made again."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from srgan.data.packed_store import FOLDER, VERSION
from srgan.data.shard_cache import INDEX
from srgan.data.shards import JoinedDigest, Shard, image_bytes
from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.utils.disk import DiskList
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, read_json_or_none, write_json

SHARD_BYTES = 1 << 30  # DVC and object storage move a shard at a time


class Packed(NamedTuple):
    """A file with one image of a store, the size of its HR image, and its SHA-256."""

    path: Path
    height: int
    width: int
    sha256: str


def pack(path: Path, hr_image: np.ndarray, *lr_images: np.ndarray) -> Packed:
    """Write an image in the store's layout: `(H, W, channels)` and its variants `(H / scale, W / scale, channels)`, uint8 or uint16."""
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        for pixels in (hr_image, *lr_images):
            block = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data
            file.write(block)
            checksum.update(block)
    return Packed(path, hr_image.shape[0], hr_image.shape[1], checksum.hexdigest())


class StoreWriter:
    """Join packed images to a store, in the order of the calls. Use as a context manager.

    Args:
        folder: gets the folder of the store, ``train``.
        scale: HR size / LR size.
        recipe: makes the LR images.
        variants: LR images for each HR image. 0 means that the training makes them.
        channels: of all images, 3 or 1.
        bits: of their numbers, 8 or 16.
        shard_bytes: largest shard. A larger image has a shard of its own.
        notes: folder for the notes of `add_group`. With it, finished shards of an earlier writer are kept.
        holds: returns whether a note of an earlier writer, with its number, still holds. If not, its shard and the next are written again.

    Attributes:
        resumed: notes of the kept shards. So many first calls of `add_group` write nothing.
    """

    def __init__(
        self,
        folder: str | Path,
        scale: int,
        recipe: Recipe = BICUBIC,
        variants: int = 1,
        channels: int = 3,
        bits: int = 8,
        shard_bytes: int = SHARD_BYTES,
        notes: Path | None = None,
        holds: Callable[[int, Any], bool] = lambda number, note: True,
    ) -> None:
        self.folder, self.scale, self.recipe, self.variants = Path(folder) / FOLDER, scale, recipe, variants
        self.channels, self.bits, self.pixel_bytes = channels, bits, channels * bits // 8
        self.shard_bytes, self.notes, self.holds = shard_bytes, notes, holds
        self.resumed = DiskList()
        self._shards: list[dict[str, Any]] = []
        self._digest = JoinedDigest()  # of the finished shards
        self._calls = 0

    def __enter__(self) -> "StoreWriter":
        for folder in (self.folder, *([self.notes] if self.notes else [])):
            folder.mkdir(parents=True, exist_ok=True)
        if self.notes:
            self._resume(self.notes)
        self._begin()
        return self

    def add(self, name: str, packed: Packed) -> None:
        """Append a file of `pack`, and delete it."""
        self.add_group([(name, packed)])

    def add_group(self, images: Sequence[tuple[str, Packed]], note: Any = None) -> None:
        """Append files of `pack` to one shard, and delete them. The note, which JSON can hold, is returned by `resumed` after a kill."""
        self._calls += 1
        if self._calls <= len(self.resumed):
            return
        sizes = [image_bytes(packed.height, packed.width, self.scale, self.variants, self.pixel_bytes) for _, packed in images]
        for (name, packed), size in zip(images, sizes, strict=True):
            if packed.height % self.scale or packed.width % self.scale or packed.path.stat().st_size != size:
                wanted = f"HR {packed.height}x{packed.width} and {self.variants} LR at x{self.scale}"
                raise ValueError(f"{name}: {packed.path} does not hold {wanted}")
        if self._rows and self._size + sum(sizes) > self.shard_bytes:
            self._finish_shard()
            self._begin()
        for (name, packed), size in zip(images, sizes, strict=True):
            self._append(name, packed, size)
        self._notes.append(note)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind:
            self._open.__exit__(kind, error, trace)  # removes the unfinished shard
            return
        if self._rows:
            self._finish_shard()
        # The index comes last: a folder without it is not a store.
        index: dict[str, Any] = {"version": VERSION, "scale": self.scale, "variants": self.variants}
        described: dict[str, Any] = {"channels": self.channels} if self.channels != 3 else {}
        described |= {"bits": self.bits} if self.bits != 8 else {}
        described |= {} if self.recipe.is_bicubic else {"recipe": self.recipe.describe()}
        write_json(self.folder / INDEX, index | described | {"sha256": self._digest.hexdigest(self.recipe), "shards": self._shards})

    # -- one shard ------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._name, self._size = f"{len(self._shards):05}", 0
        self._rows, self._notes = DiskList(), DiskList()  # a shard may have a hundred thousand small images
        self._open = ExitStack()

    def _append(self, name: str, packed: Packed, size: int) -> None:
        if not self._rows:
            path = self._open.enter_context(atomic_file(self.folder / f"{self._name}.u8"))
            self._file = self._open.enter_context(path.open("wb"))
        self._rows.append({"name": name, "offset": self._size, "height": packed.height, "width": packed.width, "sha256": packed.sha256})
        with packed.path.open("rb") as source:
            shutil.copyfileobj(source, self._file, 1 << 18)
        packed.path.unlink()
        self._size += size

    def _finish_shard(self) -> None:
        self._open.close()
        if self.notes:
            _write_lines(self.notes / f"{self._name}.json", "[\n", self._notes, "\n]\n")
        digest = self._list_shard(self._name, self._size, self._rows)
        _write_lines(self.folder / f"{self._name}.json", f'{{"sha256": "{digest}", "images": [\n', self._rows, "\n]}\n")

    def _list_shard(self, name: str, size: int, rows: Sequence[dict[str, Any]]) -> str:
        """Add a finished shard to the index. Return its digest."""
        own = JoinedDigest()
        for row in rows:
            for digest in (own, self._digest):
                digest.add(row)
        self._shards.append({"name": name, "bytes": size, "images": len(rows), "sha256": own.hexdigest()})
        return own.hexdigest()

    def _resume(self, notes: Path) -> None:
        """Find the first shards that are whole, and remove the others."""
        while self._keep(f"{len(self._shards):05}", notes):
            pass
        kept = {shard["name"] for shard in self._shards}
        for path in self.folder.iterdir():
            if path.stem not in kept and path.suffix in (".u8", ".json"):
                path.unlink()

    def _keep(self, name: str, notes: Path) -> bool:
        """Return True if a shard of an earlier writer is whole, and list it."""
        found, noted = read_json_or_none(self.folder / f"{name}.json"), read_json_or_none(notes / f"{name}.json")
        if found is None or noted is None:
            return False
        if not all(self.holds(number, note) for number, note in enumerate(noted, start=len(self.resumed))):
            return False
        shard = Shard.of(name, found["images"], self.scale, self.variants, self.pixel_bytes)
        try:
            shard.verify(self.folder / shard.pixels)
        except (SrganError, OSError):
            return False
        self._list_shard(name, shard.bytes, shard.rows)
        self.resumed.extend(noted)
        return True


def _write_lines(path: Path, head: str, items: Iterable[Any], tail: str) -> None:
    """Write JSON with one line for each item."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(head)
        for number, item in enumerate(items):
            file.write((",\n" if number else "") + json.dumps(item))
        file.write(tail)
