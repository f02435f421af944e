"""Keep shards of a packed store in a bucket on the local disk, for a store that is larger than the disk."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec

from srgan.data.shards import Shard
from srgan.utils.addresses import without_secrets
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError
from srgan.utils.file_systems import reached
from srgan.utils.files import atomic_file, one_at_a_time, plain_name, write_text

INDEX = "index.json"
DOWNLOADS = 2  # at a time

log = logging.getLogger(__name__)


class ShardCache:
    """Fetch shards when they are needed or soon will be. Processes of one machine share the files.

    Args:
        address: folder of the store at any address of fsspec, such as ``s3://bucket/train``.

    Attributes:
        folder: has the index of the store, those of all shards, and the pixels of some.

    Raises:
        Unreachable: the address has no store, or cannot be reached.
    """

    def __init__(self, address: str) -> None:
        self.address = without_secrets(address).rstrip("/")
        with reached(f"runtime.store: {self.address}"):
            self._system, root = fsspec.core.url_to_fs(address)
        self._root = root.rstrip("/")
        content = self._read(INDEX)
        try:
            index = json.loads(content)
            names = [plain_name(shard["name"], f"{self.address}/{INDEX}") for shard in index["shards"]]
            self.folder = cache_folder() / "shards" / plain_name(index["sha256"], f"{self.address}/{INDEX}")[:16]
        except (ValueError, TypeError, KeyError) as error:
            raise SrganError(
                f"runtime.store: {self.address}/{INDEX}: not the index of a sharded store. Copy data/prepared/train there"
            ) from error
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="shards")
        self._coming: dict[str, Future[Path]] = {}
        self._read_indexes([f"{name}.json" for name in names])
        write_text(self.folder / INDEX, content.decode())

    def _read_indexes(self, names: Sequence[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [name for name in names if not (self.folder / name).exists()]  # the digest of the store names the folder
        for name, content in zip(missing, self._threads.map(self._read, missing), strict=True):
            write_text(self.folder / name, content.decode())

    def _read(self, name: str) -> bytes:
        with self._reached(name):
            return bytes(self._system.cat_file(f"{self._root}/{name}"))

    def _reached(self, name: str) -> AbstractContextManager[None]:
        return reached(f"runtime.store: {self.address}/{name}", "Copy data/prepared/train there with: srgan data upload")

    def fetch(self, shard: Shard) -> Path:
        """Return the file of the pixels of a shard, which is downloaded if it is missing.

        Raises:
            Unreachable: the bucket cannot be reached.
            SrganError: the shard in the bucket is damaged.
        """
        coming = self._coming.get(shard.name)
        return coming.result() if coming else self._fetch(shard)

    def keep(self, shards: Sequence[Shard]) -> None:
        """Fetch these shards in the background, in their order, and remove all others."""
        names = {shard.pixels for shard in shards}
        self._coming = {name: future for name, future in self._coming.items() if f"{name}.u8" in names}
        for path in self.folder.glob("*.u8"):
            if path.name not in names:
                path.unlink(missing_ok=True)  # another process may have removed it, and may still have it mapped
        for shard in shards:
            if shard.name not in self._coming:
                self._coming[shard.name] = self._threads.submit(self._fetch, shard)

    def _fetch(self, shard: Shard) -> Path:
        path = self.folder / shard.pixels
        with one_at_a_time(self.folder / f"{shard.name}.lock"):
            if path.exists():  # of an earlier training, or of another process
                try:
                    shard.verify(path)
                    return path
                except SrganError as error:
                    log.warning("%s. It is fetched again", str(error).split(". ")[0])
            with atomic_file(path) as temporary:
                with self._reached(shard.pixels):
                    self._system.get_file(f"{self._root}/{shard.pixels}", str(temporary))
                shard.verify(temporary)
        return path
