"""Copy a packed store to a bucket, from which trainings stream it. See `srgan.data.shard_cache`."""

import logging
from pathlib import Path
from typing import Any

from srgan.data.packed_store import FOLDER, Store
from srgan.data.shard_cache import INDEX
from srgan.data.shards import Shard
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError
from srgan.utils.file_systems import is_address, locate, reached
from srgan.utils.progress import Progress

log = logging.getLogger(__name__)


def upload(prepared: Path, address: str) -> int:
    """Copy the shards that the bucket does not have, and return their number.

    The index of a shard follows its pixels, and that of the store comes last. So a copy that was interrupted is no store, and the next
    call continues with the first shard that is not whole.

    Args:
        prepared: folder of the store.
        address: of the copy, such as ``s3://bucket/train``.

    Raises:
        SrganError: there is no store, it is damaged, or access is denied.
        Unreachable: the connection is lost.
    """
    if not is_address(address):
        raise SrganError(f"{address}: not an address such as s3://bucket/train")
    store, name = Store(prepared), without_secrets(address).rstrip("/")
    if store.folder.name != FOLDER:
        raise SrganError(f"{store.folder}: a store of a former version. Make it again with: dvc repro -sf prepare")
    with reached(name):
        system, root = locate(address.rstrip("/"))
        there = {path.rpartition("/")[2]: info["size"] for path, info in system.find(root, detail=True).items()}
    sent = 0
    with Progress(f"copy to {name}", store.size, "B") as progress:
        for shard in store.shards:
            with reached(f"{name}/{shard.pixels}"):
                sent += _send(shard, store.folder, system, root, there)
            progress.add(shard.bytes)
        with reached(f"{name}/{INDEX}"):
            system.put_file(str(store.folder / INDEX), f"{root}/{INDEX}")
    log.info("%s: %d shards copied, %d existed already. Use it with: runtime.store: %s", name, sent, len(store.shards) - sent, name)
    return sent


def _send(shard: Shard, folder: Path, system: Any, root: str, there: dict[str, int]) -> bool:
    """Copy a shard, and return False if it exists already."""
    index = f"{shard.name}.json"
    if there.get(shard.pixels) == shard.bytes and index in there and system.cat_file(f"{root}/{index}") == (folder / index).read_bytes():
        return False
    shard.verify(folder / shard.pixels)
    for name in (shard.pixels, index):
        system.put_file(str(folder / name), f"{root}/{name}")
    return True
