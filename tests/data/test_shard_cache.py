import shutil

import fsspec
import numpy as np
import pytest

from srgan.data.packed_store import Store, open_store
from srgan.data.sampler import PatchSampler
from srgan.data.shard_cache import ShardCache
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store
from tests.data.test_windows import SHARD, SIZES

ADDRESS = "memory://bucket/train"


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A store, whose copy is in the bucket."""
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    store = make_store(tmp_path / "prepared", SIZES, shard_bytes=SHARD)
    upload(tmp_path / "prepared/train")
    yield store
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def upload(folder):
    for path in folder.iterdir():
        fsspec.filesystem("memory").pipe(f"/bucket/train/{path.name}", path.read_bytes())


def cached(store):
    return {path.stem for path in store.cache.folder.glob("*.u8")}


def test_a_streamed_store_gives_the_batches_of_the_local_one_from_a_few_shards(local):
    store = Store("unused", ShardCache(ADDRESS))
    assert (store.sha256, store.names, store.size) == (local.sha256, local.names, local.size)
    assert not cached(store)  # the indexes alone
    ours, theirs = (PatchSampler(each, 12, 16, seed=7, window=3) for each in (store, local))
    most, seen = 0, set()
    for step in range(30):
        assert all(np.array_equal(a, b) for a, b in zip(ours(step), theirs(step), strict=True))
        most, seen = max(most, len(cached(store))), seen | cached(store)
    assert most <= 3 + 2 + 2  # a window, those ahead, and two downloads of the last move
    assert len(seen) > most
    store.verify()


def test_a_second_training_finds_its_shards_and_repairs_a_damaged_one(local, caplog):
    crops = PatchSampler(Store("unused", ShardCache(ADDRESS)), 12, 16, seed=7, window=3)
    expected = crops(0)
    wait(crops.store)
    shard = crops.store.shards[crops.windows.shards(0)[0]]
    path = crops.store.cache.folder / shard.pixels
    path.write_bytes(bytes(path.stat().st_size))
    again = PatchSampler(Store("unused", ShardCache(ADDRESS)), 12, 16, seed=7, window=3)
    found = again(0)
    wait(again.store)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert path.read_bytes() == (local.folder / shard.pixels).read_bytes()
    assert "is damaged. It is fetched again" in caplog.text


def wait(store):
    for coming in store.cache._coming.values():
        coming.result()


def test_faults_of_the_bucket_name_the_address(local, tmp_path):
    crops = PatchSampler(Store("unused", ShardCache(ADDRESS)), 12, 16, seed=7, window=3)
    memory = fsspec.filesystem("memory")
    for shard in crops.store.shards:
        memory.pipe(f"/bucket/train/{shard.pixels}", bytes(shard.bytes))
    with pytest.raises(SrganError, match=r"image own/\d+ of .*\.u8 is damaged"):
        crops(0)
    assert not list(crops.store.cache.folder.glob("*.u8"))
    memory.pipe("/bucket/train/index.json", b"{}")
    with pytest.raises(SrganError, match=r"memory://bucket/train/index\.json: not the index of a sharded store"):
        ShardCache(ADDRESS)
    with pytest.raises(SrganError, match=r"memory://bucket/none/index\.json: no such file or folder\. Copy data/prepared/train there"):
        ShardCache("memory://bucket/none")
    with pytest.raises(SrganError, match=r"runtime\.store: unknown://bucket: "):
        ShardCache("unknown://bucket")


def test_a_store_in_the_bucket_that_is_not_the_prepared_one_is_refused(local, tmp_path):
    prepared = tmp_path / "prepared"
    (prepared / "manifest.json").write_text(f'{{"store_sha256": "{local.sha256}"}}')
    assert open_store(prepared, ADDRESS).names == local.names
    (prepared / "manifest.json").write_text('{"store_sha256": "0"}')
    with pytest.raises(SrganError, match=r"memory://bucket/train: not the store that .*manifest\.json describes"):
        open_store(prepared, ADDRESS)
    shutil.rmtree(prepared / "train")
    with pytest.raises(SrganError, match=r"index\.json: no such file or folder\. It is made by: dvc repro prepare"):
        open_store(prepared, "")
