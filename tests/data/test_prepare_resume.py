import contextlib
import json

import pytest

from srgan.data import prepare as preparation
from srgan.data.packed_store import Store
from srgan.data.prepare import prepare
from srgan.data.prepare_manifest import NotPrepared
from tests.data.test_prepare import PLAIN, everything, make_raw, options, picture

SHARD = 40_000  # bytes: three or four images


@pytest.fixture
def raw(tmp_path):
    images = dict(PLAIN) | {f"train/more/{n:02}.png": picture(200 + n, 40 + 3 * n, 60 + n) for n in range(12)}
    images |= {"train/more/03b.png": PLAIN["train/own/c.png"], "train/more/04b.png": b"no image"}
    return make_raw(tmp_path / "raw", images)


def interrupted(raw, out, monkeypatch, after, **changes):
    """Kill a preparation after so many groups of images, and return how many the next one makes itself."""
    add_group = preparation.StoreWriter.add_group

    def add(store, *args):
        if store._calls == after:
            raise KeyboardInterrupt
        add_group(store, *args)

    with monkeypatch.context() as patch:
        patch.setattr(preparation.StoreWriter, "add_group", add)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, out, options(max_unreadable=1), 1, SHARD)
    assert not out.exists()
    made = []
    prepare(raw, out, options(max_unreadable=1, **changes), 1, SHARD, here(made.append))
    return len([task for task in made if task.part == "train"])


def here(before):
    """Return an engine of this process, which calls `before` with each item."""

    class Mapper:
        def __init__(self, function):
            self.function = function

        def map(self, items):
            for item in items:
                before(item)
                yield self.function(item)

    return lambda function: contextlib.nullcontext(Mapper(function))


def test_an_interrupted_preparation_continues_after_its_last_shard_and_gives_the_same(raw, tmp_path, monkeypatch):
    prepare(raw, tmp_path / "whole", options(max_unreadable=1), 1, SHARD)
    store = Store(tmp_path / "whole")
    assert len(store.shards) > 3
    training = len(json.loads((raw / "manifest.json").read_text())["images"]) - 2  # without a test and a validation image
    assert 0 < interrupted(raw, tmp_path / "out", monkeypatch, after=10) < training - 5
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_other_options_or_images_begin_again(raw, tmp_path, monkeypatch):
    assert interrupted(raw, tmp_path / "out", monkeypatch, after=10, kernel="pillow") >= 14
    prepare(raw, tmp_path / "whole", options(max_unreadable=1, kernel="pillow"), 1, SHARD)
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_images_are_not_made_again_after_the_limit_of_unreadable_ones_is_raised(raw, tmp_path):
    with pytest.raises(NotPrepared, match="1 of"):
        prepare(raw, tmp_path / "out", options(), 1, SHARD)
    assert (tmp_path / "out.partial").is_dir()

    def refuse(task):
        assert task.part != "train" or task.name == "04b", "made again"

    manifest = prepare(raw, tmp_path / "out", options(max_unreadable=1), 1, SHARD, here(refuse))
    assert [skipped["image"] for skipped in manifest["skipped"]] == ["train/more/04b.png"]
    assert manifest["store_sha256"] == Store(tmp_path / "out").sha256
