"""A shard of a packed store: its index and its digest. See `srgan.data.packed_store` for the layout."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.utils.errors import SrganError
from srgan.utils.files import final_name

REPAIR = "Make it again with: dvc repro -f prepare"


def image_bytes(height: int, width: int, scale: int, variants: int, pixel_bytes: int = 3) -> int:
    """Return the bytes of an image in a store: HR pixels `(height, width)` of `pixel_bytes` each, and its LR variants."""
    return pixel_bytes * (height * width + variants * (height // scale) * (width // scale))


class JoinedDigest:
    """The digest of a shard or a store: that of the images' digests, followed by that of a recipe other than bicubic."""

    def __init__(self) -> None:
        self._checksum = hashlib.sha256()

    def add(self, row: dict[str, Any]) -> None:
        """Add the row of an image."""
        self._checksum.update(str(row["sha256"]).encode())

    def hexdigest(self, recipe: Recipe = BICUBIC) -> str:
        """Return the digest."""
        checksum = self._checksum.copy()
        checksum.update(b"" if recipe.is_bicubic else recipe.digest.encode())
        return checksum.hexdigest()


def joined(rows: Iterable[dict[str, Any]], recipe: Recipe = BICUBIC) -> str:
    """Return the `JoinedDigest` of the rows of some images."""
    digest = JoinedDigest()
    for row in rows:
        digest.add(row)
    return digest.hexdigest(recipe)


@dataclass(frozen=True)
class Shard:
    """A file of pixels and its index.

    Attributes:
        name: of its files, without the suffix.
        rows: of the index, one for each image, with `name`, `offset`, `height`, `width` and `sha256`.
        sizes: bytes of each image.
    """

    name: str
    rows: list[dict[str, Any]]
    sizes: list[int]

    @classmethod
    def of(cls, name: str, rows: list[dict[str, Any]], scale: int, variants: int, pixel_bytes: int) -> "Shard":
        """Return the shard with these rows in a store of this scale, number of LR variants and bytes of a pixel."""
        return cls(name, rows, [image_bytes(row["height"], row["width"], scale, variants, pixel_bytes) for row in rows])

    @property
    def pixels(self) -> str:
        """Name of the file of the pixels."""
        return f"{self.name}.u8"

    @property
    def bytes(self) -> int:
        """Size of the pixels."""
        return self.rows[-1]["offset"] + self.sizes[-1] if self.rows else 0

    def verify(self, path: Path) -> None:
        """Compare the pixels of each image with its digest.

        Args:
            path: file of the pixels.

        Raises:
            SrganError: an image is damaged.
        """
        with path.open("rb", buffering=0) as file:  # an unreadable sector of a mapped file would end the process
            for row, left in zip(self.rows, self.sizes, strict=True):
                file.seek(row["offset"])
                checksum = hashlib.sha256()
                damaged = f"image {row['name']} of {final_name(str(path))} is damaged"
                try:
                    while left and (block := file.read(min(left, 1 << 20))):
                        checksum.update(block)
                        left -= len(block)
                except OSError as error:
                    raise SrganError(f"{damaged} ({error.strerror}). Check the disk. {REPAIR}") from error
                if checksum.hexdigest() != row["sha256"]:
                    raise SrganError(f"{damaged}. {REPAIR}")
