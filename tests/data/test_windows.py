import numpy as np
import pytest
import torch

from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler
from srgan.data.windows import Windows, steps_of_a_window
from tests.data.test_packed_store import make_store

SIZES = [(64, 64 + 4 * number) for number in range(24)]
SHARD = 30_000  # bytes: one or two images


def test_each_shard_is_in_use_equally_long_and_no_order_repeats():
    windows = Windows(np.arange(10), width=3, steps=5, seed=1)
    assert [windows.number(step) for step in (0, 4, 5, 9, 10)] == [0, 0, 1, 1, 2]
    turns = [tuple(windows.shards(number)) for number in range(60)]
    assert all(len(shards) <= 3 for shards in turns)
    uses = np.bincount([shard for shards in turns for shard in shards], minlength=10)
    assert uses.min() >= 14
    assert uses.max() <= 20
    orders = {tuple(windows.ahead(number)[0] for number in range(start, start + 10)) for start in (7, 17, 27)}
    assert len(orders) == 3  # places 10 to 19, 20 to 29 and 30 to 39
    assert all(sorted(order) == list(range(10)) for order in orders)
    for number in range(30):
        entering = set(windows.shards(number + 1)) - set(windows.shards(number))
        assert len(entering) <= 1
        assert entering <= set(windows.ahead(number))
    assert all((Windows(np.arange(10), 3, 5, 1).shards(n) == windows.shards(n)).all() for n in (40, 0, 7))  # any order of questions


@pytest.mark.parametrize("width", [0, 10, 12])
def test_a_window_that_has_room_for_all_shards_never_moves(width):
    windows = Windows(np.arange(10), width, steps=1, seed=0)
    assert not windows.moves
    assert windows.shards(windows.number(1000)).tolist() == list(range(10))
    assert windows.ahead(0).size == 0


def test_a_window_moves_after_a_quarter_of_a_shard():
    assert steps_of_a_window(area=96 * 96 * 1000, patches=10, side=96) == 25
    assert steps_of_a_window(area=10, patches=16, side=96) == 1


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, SIZES, shard_bytes=SHARD)


def test_patches_come_from_the_shards_of_their_window(store):
    crops = PatchSampler(store, 16, 16, seed=3, window=4)
    assert crops.windows.moves
    seen = set()
    for step in range(0, 40 * crops.windows.steps):
        images = crops.sample_positions(step)[0]
        shards = set(store.shard_of[images])
        assert shards <= set(crops.windows.shards(crops.windows.number(step)))
        seen |= shards
    assert seen == set(range(len(store.shards)))
    whole, wide = (PatchSampler(store, 16, 16, seed=3, window=window) for window in (0, 100))
    assert all(np.array_equal(a, b) for a, b in zip(whole(9), wide(9), strict=True))


def test_a_resumed_training_and_several_processes_see_the_same_patches(store):
    steps = (0, 1, 2, 17, 18, 19, 5, 40, 3)  # a resumed training starts anywhere
    whole = PatchSampler(store, 12, 16, seed=7, window=3, cutmix=0.5)
    assert len({whole.windows.number(step) for step in steps}) > 3
    for step in steps:
        expected = whole(step)
        resumed = PatchSampler(store, 12, 16, seed=7, window=3, cutmix=0.5)
        parts = [PatchSampler(store, 4, 16, 7, rank, 3, cutmix=0.5, window=3)(step) for rank in range(3)]
        for found, part, batch in zip(resumed(step), zip(*parts, strict=True), expected, strict=True):
            assert np.array_equal(found, batch)
            assert np.array_equal(np.concatenate(part), batch)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_holds_the_shards_of_a_window_only(store, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    crops = PatchSampler(store, 16, 16, seed=3, cutmix=0.5, window=3)
    resident, ahead = GpuPatchSampler(crops, torch.device(device)), PrefetchingSampler(crops, torch.device(device))
    assert len(resident.pixels) == 3 * max(shard.bytes for shard in store.shards) < store.size / 3
    for step in (*range(40), 90, 2, 3):
        for ours, theirs, expected in zip(resident(step), ahead(step), PatchSampler(store, 16, 16, 3, 0, 1, 0.5, 3)(step), strict=True):
            assert np.array_equal(ours.cpu().numpy(), expected)
            assert np.array_equal(theirs.cpu().numpy(), expected)


def test_a_window_moves_over_shards_with_large_enough_images_only(tmp_path):
    store = make_store(tmp_path, [(96, 96), (32, 32), (96, 100), (32, 36), (96, 104), (32, 40)], shard_bytes=1)
    crops = PatchSampler(store, 4, 64, seed=0, window=1)
    images = np.concatenate([crops.sample_positions(step)[0] for step in range(12)])
    assert set(images) == {0, 2, 4}
