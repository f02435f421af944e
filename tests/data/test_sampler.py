import numpy as np
import pytest
import torch

from srgan.data.rectangles import draw_rectangles, inside
from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler
from srgan.degradations.recipe import Recipe
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store

GROWING = {0: 16, 3: 32}
NOISE = Recipe("gaussian-20")


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


def test_rectangles_are_of_all_sizes_and_places():
    rectangles = draw_rectangles(np.random.default_rng(0), 4000, 4, 0.75)
    top, bottom, left, right = rectangles.T
    drawn = bottom > top
    assert 0.72 < drawn.mean() < 0.78
    assert np.array_equal(drawn, right > left)
    assert {tuple(edges) for edges in rectangles[drawn][:, :2]} == {(first, end) for first in range(4) for end in range(first + 1, 5)}
    masks = inside(torch.from_numpy(rectangles), 4)
    assert np.array_equal(masks.sum((1, 2)), (bottom - top) * (right - left))
    assert masks[0, top[0] : bottom[0], left[0] : right[0]].all()


@pytest.mark.parametrize("variants", [1, 0])
def test_cutmix_pastes_the_same_rectangle_of_another_place_into_both_patches(tmp_path, variants):
    store = make_store(tmp_path, recipe=NOISE, variants=variants)
    plain, mixing = PatchSampler(store, 12, GROWING, 7), PatchSampler(store, 12, GROWING, 7, cutmix=0.5)
    resident, ahead = GpuPatchSampler(mixing, torch.device("cpu")), PrefetchingSampler(mixing, torch.device("cpu"))
    for step in (1, 3):
        before, after = plain(step), mixing(step)
        _, rectangles = mixing.sample_donors(step)
        changed = inside(torch.from_numpy(4 * rectangles), after[0].shape[1]).numpy()
        assert np.array_equal(after[0][~changed], before[0][~changed])
        assert (after[0][changed] != before[0][changed]).mean() > 0.9
        if variants:
            assert np.array_equal(after[0], after[1].repeat(4, 1).repeat(4, 2))  # HR pixels have the value of their LR pixel
        for sampler in (resident, ahead, PatchSampler(store, 12, GROWING, 7, cutmix=0.5)):
            assert all(np.array_equal(np.asarray(ours), theirs) for ours, theirs in zip(sampler(step), after, strict=True))
        parts = [PatchSampler(store, 4, GROWING, 7, rank, 3, cutmix=0.5)(step) for rank in range(3)]
        assert all(np.array_equal(np.concatenate(shares), whole) for shares, whole in zip(zip(*parts, strict=True), after, strict=True))
    assert np.array_equal(mixing(0)[0], plain(0)[0])


@pytest.mark.parametrize("variants", [3, 0])
def test_cutblur_shows_the_original_inside_or_outside_of_a_rectangle(tmp_path, variants):
    store = make_store(tmp_path, scale=1, recipe=NOISE, variants=variants)

    def images(sampler, cutblur):
        made = [torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 for pixels in sampler(5)]
        return sampler.finish(made, 5, 0.2, cutblur)

    whole = PatchSampler(store, 24, 16, 7)
    (hr_image, plain), (same, lr_image) = images(whole, 0), images(whole, 0.75)
    assert torch.equal(hr_image, same)
    shown, kept = (lr_image == hr_image).all(1), (lr_image == plain).all(1)
    assert (shown | kept).all()
    shares = shown.float().mean((1, 2))
    assert 0.2 < (shares[kept.float().mean((1, 2)) < 1] > 0.5).float().mean() < 0.9
    parts = [images(PatchSampler(store, 8, 16, 7, rank, 3), 0.75)[1] for rank in range(3)]
    assert torch.equal(torch.cat(parts), lr_image)


@pytest.mark.parametrize("variants", [1, 0])
def test_patches_of_one_channel_are_the_same_from_every_sampler(tmp_path, variants):
    store = make_store(tmp_path, recipe=NOISE, variants=variants, channels=1)
    plain = PatchSampler(store, 6, GROWING, 7, cutmix=0.5)
    for step in (1, 3):
        batch = plain(step)
        assert [patches.shape for patches in batch] == [
            (6, side, side, 1) for side in (GROWING[step // 3 * 3], GROWING[step // 3 * 3] // 4)
        ][: 1 + variants]
        if variants:
            assert np.array_equal(batch[0], batch[1].repeat(4, 1).repeat(4, 2))
        for sampler in (GpuPatchSampler(plain, torch.device("cpu")), PrefetchingSampler(plain, torch.device("cpu"))):
            assert all(np.array_equal(np.asarray(ours), theirs) for ours, theirs in zip(sampler(step), batch, strict=True))
        assert plain.lr_patches(step).shape == (6, plain.side(step) // 4, plain.side(step) // 4, 1)
    hr_image, lr_image = plain.finish([torch.from_numpy(patches).permute(0, 3, 1, 2) / 255 for patches in plain(3)], 3, 0.5, 0.0)
    assert (hr_image.shape, lr_image.shape) == ((6, 1, 32, 32), (6, 1, 8, 8))
