import numpy as np
import pytest
import torch

from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store

GROWING = {0: 16, 3: 32}


def test_a_size_holds_from_its_first_step(tmp_path):
    store = make_store(tmp_path)
    growing = PatchSampler(store, 4, GROWING, 7)
    resident, ahead = GpuPatchSampler(growing, torch.device("cpu")), PrefetchingSampler(growing, torch.device("cpu"))
    for step, side in ((0, 16), (2, 16), (3, 32), (9, 32)):
        expected = PatchSampler(store, 4, side, 7)(step)
        for sampler in (growing, resident, ahead):
            assert all(np.array_equal(np.asarray(ours), theirs) for ours, theirs in zip(sampler(step), expected, strict=True))


def test_images_must_hold_the_largest_patch(tmp_path):
    assert PatchSampler(make_store(tmp_path), 4, {0: 16, 3: 64}, 0).eligible_images == [0]  # the other has 48 x 48 pixels
    with pytest.raises(SrganError, match="patch_size: 128 pixels is more than any training image has"):
        PatchSampler(make_store(tmp_path), 4, {0: 16, 3: 128}, 0)
