import json

import numpy as np
import pytest
from PIL import Image

from srgan.data import catalog, degrade, fetch
from srgan.data.crops import Crops, _turn
from srgan.data.images import read_rgb, write_png
from srgan.data.manifest import pairs
from srgan.data.prepare import prepare, split_validation
from srgan.data.store import Store, StoreWriter
from srgan.errors import SrganError
from srgan.files import atomic_file, atomic_folder, sha256


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
    return np.clip(np.einsum("ab,cd,bdk->ack", rows, columns, image.astype(np.float64), optimize=True), 0, 255)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["noise", "photograph", "tiny"])
def test_both_directions_equal_matlab_within_one_level_borders_included(kind, scale):
    random = np.random.default_rng(0)
    if kind == "photograph":
        spec = fetch.importlib.util.find_spec("skimage")
        image = read_rgb(fetch.Path(spec.origin).parent / "data" / "chelsea.png")
    else:
        image = random.integers(0, 256, (12, 24, 3) if kind == "tiny" else (72, 96, 3), dtype=np.uint8)
    image = degrade.modcrop(image, scale)
    small = degrade.bicubic_downscale(image, scale)
    reference = matlab_resize(image, small.shape[:2], scale)
    assert np.abs(small - reference).max() <= 1
    large = degrade.bicubic_upscale(small, scale)
    assert large.shape == image.shape
    assert np.abs(large - matlab_resize(small, large.shape[:2], scale)).max() <= 1


def test_downscale_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="modcrop"):
        degrade.bicubic_downscale(np.zeros((10, 12, 3), np.uint8), 4)


def test_sample_is_photographs_with_the_promised_test_images():
    photos = {photo.file: photo for photo in catalog.SAMPLE.photos}
    assert {name for name, photo in photos.items() if photo.split == "test"} == {"astronaut.png", "chelsea.png", "coffee.png"}
    assert not {"logo.png", "color.png", "page.png", "text.png", "phantom.png", "chessboard_RGB.png"} & set(photos)
    assert photos["motorcycle_left.png"].group == photos["motorcycle_right.png"].group != ""


def test_a_changed_source_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "skimage"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "data" / "astronaut.png").write_bytes(b"not the astronaut")

    class Spec:
        origin = str(package / "__init__.py")

    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(SrganError, match=r"astronaut\.png has SHA-256 .* expected 88431cd9653c"):
        fetch.fetch_data_set(catalog.SAMPLE, "test", tmp_path / "out")


def records(count, group=""):
    return [{"sha256": f"{i:064x}", "group": group} for i in range(count)]


def test_the_two_motorcycle_views_never_part():
    motorcycle = [{"sha256": photo.sha256, "group": photo.group} for photo in catalog.SAMPLE.photos if photo.split == "train"]
    for seed in range(200):
        parts = split_validation(motorcycle, 0.3, seed)
        together = {part for part, record in zip(parts, motorcycle, strict=True) if record["group"] == "motorcycle"}
        assert len(together) == 1
        assert {"train", "validation"} == set(parts)


def test_adding_images_moves_none_of_the_others():
    few, many = records(40), records(80)
    before, after = split_validation(few, 0.2, seed=1), split_validation(many, 0.2, seed=1)
    assert after[:40] == before
    assert 5 < after.count("validation") < 30


def test_a_split_needs_two_scenes():
    with pytest.raises(SrganError, match="at least two different scenes"):
        split_validation(records(3, group="same"), 0.5, 0)


@pytest.fixture
def raw(tmp_path):
    """Three training photographs and a test image in the layout of `download`."""
    random, images = np.random.default_rng(1), []
    folder = tmp_path / "raw"
    for split, names in (("train", ("a", "b", "c")), ("test", ("t",))):
        for name in names:
            path = folder / split / "own" / f"{name}.png"
            write_png(path, random.integers(0, 256, (50, 62, 3), dtype=np.uint8))
            images.append(
                {"path": f"{split}/own/{name}.png", "set": "own", "split": split, "sha256": sha256(path), "group": "", "licence": "x"}
            )
    (folder / "manifest.json").write_text(json.dumps({"images": images}))
    return folder


def test_prepared_pairs_are_the_images_and_their_lr(raw, tmp_path):
    manifest = prepare(raw, tmp_path / "out", 4, 0.1, 0)
    (pair,) = pairs(tmp_path / "out", "test")
    hr_image = read_rgb(pair.hr)
    assert hr_image.shape == (48, 60, 3)  # cut to a multiple of 4
    assert np.array_equal(hr_image, read_rgb(raw / "test/own/t.png")[:48, :60])
    assert np.array_equal(read_rgb(pair.lr), degrade.bicubic_downscale(hr_image, 4))
    store = Store(tmp_path / "out")
    assert len(store.names) + len(pairs(tmp_path / "out", "validation")) == 3
    for name, hr_view, lr_view in zip(store.names, store.hr, store.lr, strict=True):
        assert np.array_equal(hr_view, read_rgb(raw / f"train/{name}.png")[:48, :60])
        assert np.array_equal(lr_view, read_rgb(tmp_path / f"out/train/own/lr/{name.split('/')[1]}.png"))
    again = prepare(raw, tmp_path / "again", 4, 0.1, 0)
    assert again == manifest
    assert sha256(tmp_path / "out/train.u8") == sha256(tmp_path / "again/train.u8")


def test_a_truncated_image_stops_prepare_and_leaves_nothing(raw, tmp_path):
    victim = raw / "train/own/b.png"
    victim.write_bytes(victim.read_bytes()[:2000])
    with pytest.raises(SrganError, match=r"b\.png: .*truncated"):
        prepare(raw, tmp_path / "out", 4, 0.1, 0)
    assert not list(tmp_path.glob("*out*"))


def test_a_former_result_survives_a_failed_prepare(raw, tmp_path):
    prepare(raw, tmp_path / "out", 4, 0.1, 0)
    before = (tmp_path / "out/manifest.json").read_bytes()
    (raw / "train/own/b.png").unlink()
    with pytest.raises(SrganError, match=r"b\.png: no such file"):
        prepare(raw, tmp_path / "out", 4, 0.1, 0)
    assert (tmp_path / "out/manifest.json").read_bytes() == before


def make_store(folder, sizes=((64, 96), (48, 48)), scale=4):
    random = np.random.default_rng(2)
    with StoreWriter(folder, scale) as writer:
        for number, (height, width) in enumerate(sizes):
            lr_image = random.integers(0, 256, (height // scale, width // scale, 3), dtype=np.uint8)
            # HR pixel (y, x) carries the value of the LR pixel it belongs to: alignment shows.
            writer.add(f"own/{number}", lr_image.repeat(scale, 0).repeat(scale, 1), lr_image)
    return Store(folder)


def test_crops_are_aligned_and_a_function_of_seed_and_step(tmp_path):
    store = make_store(tmp_path)
    crops = Crops(store, batch=32, patch=16, seed=7)
    hr_crops, lr_crops = crops(3)
    assert hr_crops.shape == (32, 16, 16, 3)
    assert np.array_equal(hr_crops, lr_crops.repeat(4, 1).repeat(4, 2))
    assert all(np.array_equal(a, b) for a, b in zip(crops(3), Crops(store, 32, 16, 7)(3), strict=True))
    assert not np.array_equal(crops(4)[0], hr_crops)
    assert not np.array_equal(Crops(store, 32, 16, 8)(3)[0], hr_crops)


def test_the_eight_turns_are_eight_different_pictures():
    image = np.arange(12 * 12 * 3, dtype=np.uint16).reshape(12, 12, 3)
    assert len({_turn(image, which).tobytes() for which in range(8)}) == 8


def test_a_patch_larger_than_every_image_is_an_error(tmp_path):
    with pytest.raises(SrganError, match="patch: 128 pixels is more than any training image has"):
        Crops(make_store(tmp_path), 1, 128, 0)
    assert Crops(make_store(tmp_path), 4, 64, 0).usable == [0]  # the smaller image is left out


def test_a_shortened_store_is_noticed(tmp_path):
    make_store(tmp_path)
    pixels = tmp_path / "train.u8"
    pixels.write_bytes(pixels.read_bytes()[:-100])
    with pytest.raises(SrganError, match="shorter than its index says"):
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


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "not an image"), (b"hello", "not an image"), (None, "no such file")],
)
def test_what_is_no_image_is_told_by_name(tmp_path, content, expected):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SrganError, match=rf"x\.png: {expected}"):
        read_rgb(path)


def test_rotation_is_applied_and_grey_becomes_rgb(tmp_path):
    image = Image.new("L", (8, 4), 77)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.jpg", exif=exif, quality=100)
    pixels = read_rgb(tmp_path / "x.jpg")
    assert pixels.shape == (8, 4, 3)
    assert np.ptp(pixels) <= 1
