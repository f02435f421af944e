import json
import os

import numpy as np
import pytest

from srgan.data.packed_store import Store
from srgan.data.sampler import PatchSampler
from srgan.data.shards import joined
from srgan.data.store_writer import StoreWriter, pack

GIB = 1 << 30


def images(count):
    return [np.full((16, 16 + 4 * number, 3), number, np.uint8) for number in range(count)]


def write(folder, count, fails_at=None, notes=None):
    """A store of x1 images without LR images. Its shards have the images 0 to 2, 4 and 5, 6, 7, and 8. Return the writer."""
    with StoreWriter(folder, 1, variants=0, shard_bytes=4000, notes=notes) as writer:
        for number, image in enumerate(images(count)):
            if number == fails_at:
                raise KeyboardInterrupt
            writer.add_group([(str(number), pack(folder / "one", image))] if number != 3 else [], note=number)
    return writer


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}


def test_finished_shards_of_a_killed_writer_are_kept_and_the_result_is_the_same(tmp_path):
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 9, fails_at=8, notes=tmp_path / "notes")
    kept = files(tmp_path)
    assert {name for name in kept if name.endswith(".u8")} == {"00000.u8", "00001.u8", "00002.u8"}
    assert "index.json" not in kept
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "train").glob("*.u8")}
    writer = write(tmp_path, 9, notes=tmp_path / "notes")
    assert writer.resumed == [0, 1, 2, 3, 4, 5, 6]  # 3 has no image
    assert files(tmp_path) == files(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_damaged_shard_and_those_after_it_are_made_again(tmp_path):
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 9, fails_at=8, notes=tmp_path / "notes")
    path = tmp_path / "train/00001.u8"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert write(tmp_path, 9, notes=tmp_path / "notes").resumed == [0, 1, 2, 3]
    assert files(tmp_path) == files(tmp_path / "whole")


def test_offsets_beyond_4_gib_reach_the_right_pixels(tmp_path):
    """Two sparse shards of 5 GiB, of which a few pixels are written."""
    folder, side, places = tmp_path / "train", 64, (0, 2**31 + 5, 2**32 - 7, 2**32 + 20011, 5 * GIB - 3 * 64 * 64)
    folder.mkdir()
    pixels, listed, every = np.random.default_rng(0).integers(0, 256, (2, len(places), side, side, 3), np.uint8), [], []
    for shard, name in enumerate(("00000", "00001")):
        with (folder / f"{name}.u8").open("wb") as file:
            for offset, image in zip(places, pixels[shard], strict=True):
                os.pwrite(file.fileno(), image.tobytes(), offset)
        rows = [{"name": f"{name}-{n}", "offset": at, "height": side, "width": side, "sha256": str(n)} for n, at in enumerate(places)]
        (folder / f"{name}.json").write_text(json.dumps({"images": rows}))
        listed.append({"name": name, "bytes": 5 * GIB, "images": len(rows), "sha256": joined(rows)})
        every += rows
    index = {"version": 4, "scale": 1, "variants": 0, "sha256": joined(every), "shards": listed}
    (folder / "index.json").write_text(json.dumps(index))
    assert sum(path.stat().st_blocks * 512 for path in folder.iterdir()) < GIB / 100
    store = Store(tmp_path)
    assert store.size == 10 * GIB
    assert store.starts.tolist() == [0, 5 * GIB, 10 * GIB]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(store.hr, pixels.reshape(-1, side, side, 3), strict=True))
    crops = PatchSampler(store, 40, side, seed=0)
    number, _, _, symmetry, _ = crops.sample_positions(0)
    (found,) = crops(0)
    for n in np.flatnonzero(symmetry == 0):
        assert np.array_equal(found[n], pixels.reshape(-1, side, side, 3)[number[n]])
    assert (symmetry == 0).any()
