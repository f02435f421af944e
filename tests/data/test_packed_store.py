import hashlib
import json
import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from srgan.data.packed_store import Store
from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler, _dihedral
from srgan.data.store_writer import SHARD_BYTES, StoreWriter, pack
from srgan.degradations import bicubic
from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.images.read import read_image
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, atomic_folder, sha256, write_json


def matlab_resize(image, size, scale):
    """Float64 reference of MATLAB's imresize: weights by the cubic kernel, normalised, indices mirrored at the borders."""

    def cubic(x):
        x = np.abs(x)
        return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))

    def matrix(before, after):
        ratio = after / before
        stretch = min(ratio, 1)  # < 1: shrink, and widen the kernel
        centre = (np.arange(after) + 0.5) / ratio - 0.5
        reach = int(np.ceil(4 / stretch)) + 2
        index = np.floor(centre - reach / 2)[:, None].astype(int) + np.arange(reach)
        weights = stretch * cubic(stretch * (centre[:, None] - index))
        weights /= weights.sum(1, keepdims=True)
        mirrored = np.where((index // before) % 2 == 0, index % before, before - 1 - index % before)
        result = np.zeros((after, before))
        for row, (columns, values) in enumerate(zip(mirrored, weights, strict=True)):
            np.add.at(result[row], columns, values)
        return result

    rows, columns = matrix(image.shape[0], size[0]), matrix(image.shape[1], size[1])
    return np.clip(np.einsum("ab,cd,bd...->ac...", rows, columns, image.astype(np.float64), optimize=True), 0, 255)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("kind", ["noise", "grey", "tiny"])
def test_both_directions_equal_matlab_within_one_level_borders_included(kind, scale):
    shape = {"noise": (72, 96, 3), "grey": (72, 96), "tiny": (scale, 2 * scale, 3)}[kind]
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = bicubic.modcrop(image, scale)
    small = bicubic.bicubic_downscale(image, scale)
    # Not only within a level of the reference, as promised: it is the reference, rounded.
    assert np.abs(small - matlab_resize(image, small.shape[:2], scale)).max() <= 0.5001
    large = bicubic.bicubic_upscale(small, scale)
    assert large.shape == image.shape
    assert np.abs(large - matlab_resize(small, large.shape[:2], scale)).max() <= 0.5001


@pytest.mark.parametrize("name", ["set5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("set14", "b100"))])
def test_every_benchmark_image_is_shrunk_as_by_matlab(mirror, name):
    for path in sorted((mirror / "datasets" / name).iterdir()):
        image = read_image(path)
        for scale in (2, 3, 4):
            cut = bicubic.modcrop(image, scale)
            small = bicubic.bicubic_downscale(cut, scale)
            assert np.abs(small - matlab_resize(cut, small.shape[:2], scale)).max() <= 1, (path, scale)


def test_pillows_bicubic_is_an_option(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((12, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(bicubic.bicubic_downscale(image, 4, "pillow"), expected)


def test_downscale_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="modcrop"):
        bicubic.bicubic_downscale(np.zeros((10, 12, 3), np.uint8), 4)


def make_store(folder, sizes=((64, 96), (48, 48)), scale=4, recipe=BICUBIC, variants=1, channels=3, shard_bytes=SHARD_BYTES):
    """A store whose variants differ in brightness, and only in it."""
    random = np.random.default_rng(2)
    with StoreWriter(folder, scale, recipe, variants, channels, shard_bytes=shard_bytes) as writer:
        for number, (height, width) in enumerate(sizes):
            lr_image = random.integers(0, 256, (height // scale, width // scale, channels), dtype=np.uint8)
            # HR pixel (y, x) carries the value of the LR pixel it belongs to: alignment shows.
            made = [lr_image + np.uint8(7 * variant) for variant in range(variants)]
            writer.add(f"own/{number}", pack(folder / "one", lr_image.repeat(scale, 0).repeat(scale, 1), *made))
    return Store(folder)


def read_shard(folder, name="00000"):
    return json.loads((folder / f"train/{name}.json").read_text()), np.fromfile(folder / f"train/{name}.u8", np.uint8)


def make_former(folder):
    """Replace a store of one shard by the same store of version 2 or 3."""
    top, (shard, _) = json.loads((folder / "train/index.json").read_text()), read_shard(folder)
    recipe = {"variants": top["variants"], "recipe": top["recipe"]} if "recipe" in top else {}
    index = {"version": 3 if recipe else 2, "scale": top["scale"]} | recipe | {"sha256": top["sha256"], "images": shard["images"]}
    (folder / "train/00000.u8").rename(folder / "train.u8")
    write_json(folder / "train.json", index)
    shutil.rmtree(folder / "train")
    return Store(folder)


def test_the_layout_is_as_documented(tmp_path):
    """Read with nothing but NumPy, as the documentation says."""
    store = make_store(tmp_path)
    top, (index, pixels) = json.loads((tmp_path / "train/index.json").read_text()), read_shard(tmp_path)
    assert (top["version"], top["scale"], top["variants"]) == (4, 4, 1)
    assert top["shards"] == [{"name": "00000", "bytes": pixels.size, "images": 2, "sha256": index["sha256"]}]
    end = 0
    for number, image in enumerate(index["images"]):
        assert image["offset"] == end
        hr_size = image["height"] * image["width"] * 3
        end += hr_size + hr_size // 16
        block = pixels[image["offset"] : end]
        assert hashlib.sha256(block).hexdigest() == image["sha256"]
        assert np.array_equal(block[:hr_size].reshape(image["height"], image["width"], 3), store.hr[number])
        assert np.array_equal(block[hr_size:].reshape(image["height"] // 4, image["width"] // 4, 3), store.lr[number])
    assert end == pixels.size
    digest = hashlib.sha256("".join(image["sha256"] for image in index["images"]).encode()).hexdigest()
    assert index["sha256"] == top["sha256"] == digest == store.sha256


def test_a_large_store_has_several_shards_and_the_digest_and_the_batches_of_one(tmp_path):
    sizes = [(64, 96), (48, 48), (64, 64), (160, 160), (48, 64)]
    one, several = (make_store(tmp_path / name, sizes, shard_bytes=limit) for name, limit in (("one", 1 << 30), ("several", 35_000)))
    # 19584 + 7344 bytes fit, 13056 more do not. The image of 81600 bytes has a shard of its own.
    assert [len(shard.rows) for shard in several.shards] == [2, 1, 1, 1]
    assert [shard.bytes for shard in several.shards] == [26928, 13056, 81600, 9792]
    assert (one.sha256, one.names, one.size) == (several.sha256, several.names, several.size)
    for ours, theirs in ((one.hr, several.hr), (one.lr_variants, several.lr_variants)):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    samplers = [PatchSampler(store, 32, 32, seed=5) for store in (one, several)]
    resident = GpuPatchSampler(samplers[1], torch.device("cpu"))
    for step in range(4):
        first, second, third = (sampler(step) for sampler in (*samplers, resident))
        assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(first, second, third, strict=True))


def test_a_store_of_a_former_version_gives_the_same_batches(tmp_path):
    for recipe, variants, version in ((BICUBIC, 1, 2), (NOISE, 3, 3)):
        folder = tmp_path / str(version)
        present = make_store(folder, recipe=recipe, variants=variants)
        expected = PatchSampler(present, 16, 32, seed=7)(3)
        former = make_former(folder)
        assert json.loads((folder / "train.json").read_text())["version"] == version
        assert (former.sha256, former.variants, former.recipe.digest) == (present.sha256, variants, recipe.digest)
        assert all(np.array_equal(a, b) for a, b in zip(PatchSampler(former, 16, 32, seed=7)(3), expected, strict=True))
        former.verify()


NOISE = Recipe("gaussian-20")


def test_a_store_with_a_recipe_is_read_as_documented(tmp_path):
    store = make_store(tmp_path, recipe=NOISE, variants=3)
    top, (index, pixels) = json.loads((tmp_path / "train/index.json").read_text()), read_shard(tmp_path)
    assert (top["version"], top["variants"], top["recipe"]["name"]) == (4, 3, "gaussian-20")
    assert [step["name"] for step in top["recipe"]["steps"]] == ["downscale", "noise"]
    assert store.recipe.digest == NOISE.digest
    image = index["images"][1]
    lr_size = image["height"] // 4 * (image["width"] // 4) * 3
    start = image["offset"] + 16 * lr_size
    assert np.array_equal(pixels[start : start + 3 * lr_size].reshape(3, 12, 12, 3), store.lr_variants[1])
    joined = "".join(image["sha256"] for image in index["images"]) + NOISE.digest
    assert store.sha256 == hashlib.sha256(joined.encode()).hexdigest()
    store.verify()
    assert make_store(tmp_path, recipe=Recipe("gaussian-21"), variants=3).sha256 != store.sha256


@pytest.mark.parametrize("change", [{"digest": "0"}, {"steps": [{"name": "gone"}]}, {"steps": [{"name": "noise", "gone": 1}]}])
def test_a_store_made_by_other_degradations_is_refused(tmp_path, change):
    make_store(tmp_path, recipe=NOISE, variants=0)
    path = tmp_path / "train/index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"recipe": index["recipe"] | change}))
    with pytest.raises(SrganError, match=r"index\.json: made with other degradations .* dvc repro -sf prepare"):
        Store(tmp_path)


def test_bicubic_batches_never_change(tmp_path):
    """Digests of the first version of this sampler: a changed draw would change the weights of every bicubic training."""
    crops, found = PatchSampler(make_store(tmp_path), 16, 32, seed=7), hashlib.sha256()
    for step in range(5):
        for pixels in (*crops(step), crops.color_gains(step, 0.3)):
            found.update(pixels.tobytes())
    assert found.hexdigest() == "578562456534d276be2df15749664c67f1dd2d8649f6dc2305847cf44a798bb2"
    make_former(tmp_path)
    files = {"train.json": "08bd0d819203e0d2", "train.u8": "6e6744e592d02e5c"}
    assert {name: sha256(tmp_path / name)[:16] for name in files} == files


def test_a_variant_is_drawn_for_each_patch(tmp_path):
    crops = PatchSampler(make_store(tmp_path, recipe=NOISE, variants=3), batch_size=64, patch_size=16, seed=7)
    hr_crops, lr_crops = crops(1)
    differences = lr_crops - hr_crops[:, ::4, ::4]
    assert {tuple(np.unique(one)) for one in differences} == {(0,), (7,), (14,)}
    resident = GpuPatchSampler(crops, torch.device("cpu"))
    assert all(np.array_equal(ours.numpy(), theirs) for ours, theirs in zip(resident(1), (hr_crops, lr_crops), strict=True))


def test_a_store_without_lr_images_gives_the_same_hr_patches(tmp_path):
    with_lr = PatchSampler(make_store(tmp_path), 8, 32, seed=3)(5)
    crops = PatchSampler(make_store(tmp_path, recipe=NOISE, variants=0), 8, 32, seed=3)
    assert not crops.store.lr
    for sampler in (crops, GpuPatchSampler(crops, torch.device("cpu")), PrefetchingSampler(crops, torch.device("cpu"))):
        (hr_crops,) = sampler(5)
        assert np.array_equal(np.asarray(hr_crops), with_lr[0])
    noisy = crops.lr_patches(5)
    assert noisy.shape == with_lr[1].shape
    assert 20 < np.std(noisy.astype(float) - with_lr[1]) < 35  # of the noise, and of bicubic reduction of square blocks


def test_a_store_of_another_version_or_misaligned_images_are_refused(tmp_path):
    make_store(tmp_path)
    path = tmp_path / "train/index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 1}))
    with pytest.raises(SrganError, match=r"store version 1, this program reads 2, 3 and 4\. Run: dvc repro -sf prepare"):
        Store(tmp_path)
    with StoreWriter(tmp_path, 4) as writer, pytest.raises(ValueError, match="does not hold HR 48x52"):
        packed = pack(tmp_path / "one", np.zeros((48, 48, 3), np.uint8), np.zeros((12, 12, 3), np.uint8))
        writer.add("own/x", packed._replace(width=52))


def test_crops_are_aligned_and_a_function_of_seed_and_step(tmp_path):
    store = make_store(tmp_path)
    crops = PatchSampler(store, batch_size=32, patch_size=16, seed=7)
    hr_crops, lr_crops = crops(3)
    assert hr_crops.shape == (32, 16, 16, 3)
    assert np.array_equal(hr_crops, lr_crops.repeat(4, 1).repeat(4, 2))
    assert all(np.array_equal(a, b) for a, b in zip(crops(3), PatchSampler(store, 32, 16, 7)(3), strict=True))
    assert not np.array_equal(crops(4)[0], hr_crops)
    assert not np.array_equal(PatchSampler(store, 32, 16, 8)(3)[0], hr_crops)


def test_the_eight_turns_are_eight_different_pictures():
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    turned = np.zeros((8, 12, 12, 3), np.uint8)
    for which in range(8):
        _dihedral(image, which, turned[which])
    expected = {np.rot90(flipped, k).tobytes() for flipped in (image, image[::-1]) for k in range(4)}
    assert {picture.tobytes() for picture in turned} == expected
    assert len(expected) == 8


def test_every_image_place_and_turn_is_drawn(tmp_path):
    crops = PatchSampler(make_store(tmp_path), batch_size=64, patch_size=32, seed=0)
    drawn = np.concatenate([np.stack(crops.sample_positions(step)) for step in range(40)], axis=1)
    assert set(drawn[0]) == {0, 1}
    assert set(drawn[3]) == set(range(8))
    assert {(top, left) for image, top, left, _, _ in drawn.T if image == 1} == {(y, x) for y in range(5) for x in range(5)}
    assert set(drawn[2][drawn[0] == 0]) == set(range(17))


def test_workers_share_the_steps_without_changing_them(tmp_path):
    """Any split of the steps among processes gives the same batches as one process."""
    make_store(tmp_path)
    alone = [PatchSampler(Store(tmp_path), 4, 16, 1)(step) for step in range(6)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        shared = pool.starmap(batch_of, [(tmp_path, step) for step in range(6)])
    assert all(np.array_equal(a, b) for one, other in zip(alone, shared, strict=True) for a, b in zip(one, other, strict=True))


def batch_of(folder, step):
    return PatchSampler(Store(folder), 4, 16, 1)(step)


@pytest.mark.parametrize(("scale", "patch"), [(1, 16), (2, 34), (3, 15), (4, 16), (8, 48)])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_crops_cut_on_the_device_are_the_same(tmp_path, scale, patch, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    sizes = [(scale * height, scale * width) for height, width in ((20, 17), (6, 9), (31, 40))]
    crops = PatchSampler(make_store(tmp_path, sizes, scale), batch_size=32, patch_size=patch, seed=5)
    resident = GpuPatchSampler(crops, torch.device(device))
    for step in range(3):
        for ours, theirs in zip(resident(step), crops(step), strict=True):
            assert ours.dtype == torch.uint8
            assert np.array_equal(ours.cpu().numpy(), theirs)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_made_ahead_are_the_same_in_any_order(tmp_path, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    crops = PatchSampler(make_store(tmp_path), batch_size=4, patch_size=16, seed=5)
    ahead = PrefetchingSampler(crops, torch.device(device))
    for step in (0, 1, 2, 3, 0, 4, 5, 2, 3, 100, 101, 0, 102):
        for ours, theirs in zip(ahead(step), crops(step), strict=True):
            assert np.array_equal(ours.cpu().numpy(), theirs)
        assert len(ahead.pending) < 2 * PrefetchingSampler.PREFETCH


def test_a_store_goes_to_a_gpu_where_it_fits(tmp_path, monkeypatch):
    store = make_store(tmp_path, shard_bytes=20_000)
    whole, window = PatchSampler(store, 4, 16, 0), PatchSampler(store, 4, 16, 0, window=1)
    assert not GpuPatchSampler.fits(whole, torch.device("cpu"))
    for sampler, size in ((whole, store.size), (window, max(shard.bytes for shard in store.shards))):
        for free, fits in ((size * 2, True), (size * 2 - 2, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10**12))
            assert GpuPatchSampler.fits(sampler, torch.device("cuda")) is fits


def test_a_patch_larger_than_every_image_is_an_error(tmp_path):
    with pytest.raises(SrganError, match="patch_size: 128 pixels is more than any training image has"):
        PatchSampler(make_store(tmp_path), 1, 128, 0)
    assert PatchSampler(make_store(tmp_path), 4, 64, 0).eligible_images == [0]  # the smaller image is left out


def test_a_shortened_store_is_noticed(tmp_path):
    make_store(tmp_path)
    pixels = tmp_path / "train/00000.u8"
    pixels.write_bytes(pixels.read_bytes()[:-100])
    with pytest.raises(SrganError, match="shorter than its index requires"):
        Store(tmp_path)


def test_atomic_writing_leaves_the_former_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "x").write_text("half")
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
