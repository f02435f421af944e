import fsspec
import pytest

from srgan.data.packed_store import Store
from srgan.data.shard_cache import ShardCache
from srgan.data.store_upload import upload
from srgan.utils.errors import SrganError, Unreachable
from tests.data.test_packed_store import make_store
from tests.data.test_windows import SHARD, SIZES

ADDRESS = "memory://bucket/train"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/bucket", recursive=True)


def test_a_copy_that_was_interrupted_is_no_store_and_continues(tmp_path, bucket, monkeypatch):
    store = make_store(tmp_path / "prepared", SIZES, shard_bytes=SHARD)
    put = type(bucket).put_file

    def breaks(self, path, target, **kwargs):
        if target.endswith("00002.u8"):
            put(self, path, target.replace(".u8", ".json"), **kwargs)  # the index of a former store stays behind
            raise ConnectionResetError("Connection reset by peer")
        put(self, path, target, **kwargs)

    monkeypatch.setattr(type(bucket), "put_file", breaks)
    with pytest.raises(Unreachable, match=r"memory://bucket/train/00002.u8 cannot be reached: Connection reset by peer"):
        upload(tmp_path / "prepared", ADDRESS)
    monkeypatch.undo()
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SrganError, match=r"index.json: no such file or folder. Copy data/prepared/train there with: srgan data upload"):
        ShardCache(ADDRESS)
    assert upload(tmp_path / "prepared", ADDRESS) == len(store.shards) - 2
    assert upload(tmp_path / "prepared", f"{ADDRESS}/") == 0
    copy = Store("unused", ShardCache(ADDRESS))
    assert copy.sha256 == store.sha256
    assert all((copy.pixels(number) == store.pixels(number)).all() for number in range(len(store.shards)))


def test_a_changed_store_replaces_its_copy_and_a_damaged_shard_is_not_copied(tmp_path, bucket):
    make_store(tmp_path / "old", SIZES[:5], shard_bytes=SHARD)
    upload(tmp_path / "old", ADDRESS)
    store = make_store(tmp_path / "prepared", SIZES[::-1], shard_bytes=SHARD)
    with (store.folder / "00000.u8").open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(SrganError, match="is damaged"):
        upload(tmp_path / "prepared", ADDRESS)
    store = make_store(tmp_path / "again", SIZES[::-1], shard_bytes=SHARD)
    upload(tmp_path / "again", ADDRESS)
    assert Store("unused", ShardCache(ADDRESS)).sha256 == store.sha256


def test_a_path_is_no_address(tmp_path):
    with pytest.raises(SrganError, match="train: not an address such as s3://bucket/train"):
        upload(tmp_path, "data/train")
