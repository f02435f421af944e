"""From raw images to training material: the split, what is left out, and that nothing depends on how many processes work."""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from srgan.config.data import Prepare
from srgan.data.download.catalog import DATA_SETS
from srgan.data.manifest import pairs
from srgan.data.names import unique_names
from srgan.data.packed_store import Store
from srgan.data.prepare import prepare
from srgan.data.prepare_manifest import NotPrepared
from srgan.data.split import split
from srgan.degradations import bicubic
from srgan.degradations.registry import DEGRADATIONS
from srgan.evaluation.data_card import write_data_card
from srgan.evaluation.evaluate import evaluate
from srgan.images.png import write_png
from srgan.images.read import as_grey, read_image, read_rgb
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params


def options(**changes):
    return Prepare(**({"scale": 4, "kernel": "matlab", "validation": 0.1, "test": 0.0, "seed": 0, "max_unreadable": 0} | changes))


# -- the split ---------------------------------------------------------------------------------------------------------


def records(count, group=""):
    return [{"sha256": f"{i:064x}", "group": group} for i in range(count)]


def test_the_two_motorcycle_views_never_part():
    motorcycle = [{"sha256": file.sha256, "group": file.group} for file in DATA_SETS["sample"].sources["train"][0].files]
    for seed in range(200):
        parts = split(motorcycle, 0.3, 0.2, seed)
        together = {part for part, record in zip(parts, motorcycle, strict=True) if record["group"] == "motorcycle"}
        assert len(together) == 1
        assert {"train", "validation", "test"} == set(parts)


def test_adding_images_moves_none_of_the_others():
    few, many = records(40), records(400)
    before, after = split(few, 0.2, 0.1, seed=1), split(many, 0.2, 0.1, seed=1)
    assert after[:40] == before
    assert 55 < after.count("validation") < 105
    assert 20 < after.count("test") < 60
    assert split(many, 0.2, 0.1, seed=2) != after


def test_a_larger_share_of_validation_takes_none_from_the_test():
    images = records(400)
    small, large = split(images, 0.1, 0.1, 0), split(images, 0.3, 0.1, 0)
    assert [part == "test" for part in small] == [part == "test" for part in large]


def test_a_split_needs_a_scene_for_each_part():
    with pytest.raises(SrganError, match=r"into 2 parts needs at least 2 different scenes, data\.train has 1"):
        split(records(3, group="same"), 0.5, 0, 0)
    assert sorted(split(records(3), 0.01, 0.01, 0)) == ["test", "train", "validation"]
    with pytest.raises(SrganError, match="3 different scenes"):
        split(records(2), 0.1, 0.1, 0)


def test_names_tell_images_apart():
    assert unique_names(["a.png", "b/a.png", "c.jpg"]) == ["a", "b_a", "c"]
    assert unique_names(["a.png", "a.jpg", "b.png"]) == ["a.png", "a.jpg", "b"]


def test_names_are_safe_in_files_terminals_and_spreadsheets():
    hostile = ["=cmd|' -C calc'!A0.png", "@SUM(1).png", "-1+1.png", "+1.png", "a\x1b[31m.png", "b\\c.png", "d\udcff.png", "e\u202ef.png"]
    assert unique_names(hostile) == ["_=cmd|' -C calc'!A0", "_@SUM(1)", "_-1+1", "_+1", "a_[31m", "b_c", "d_", "e_f"]


# -- preparation -------------------------------------------------------------------------------------------------------


def picture(seed, height=50, width=62):
    """Random blobs, no two pictures alike."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def photo(name):
    return read_rgb(Path(importlib.util.find_spec("skimage").origin).parent / "data" / name)


def make_raw(folder, images):
    """Images in the layout of `download`: ``SPLIT/SET/FILE`` -> pixels or bytes."""
    listed = []
    for place, content in images.items():
        path = folder / place
        if isinstance(content, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            write_png(path, content)
        part, name = place.split("/")[:2]
        listed.append({"path": place, "set": name, "split": part, "sha256": sha256(path), "group": "", "licence": "<own> & free"})
    (folder / "manifest.json").write_text(json.dumps({"images": listed}))
    return folder


PLAIN = {f"train/own/{name}.png": picture(number) for number, name in enumerate("abcde")} | {"test/own/t.png": picture(99)}


@pytest.fixture
def raw(tmp_path):
    return make_raw(tmp_path / "raw", PLAIN)


@pytest.mark.parametrize("kind", ["hr", "lr"])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_damaged_image_is_named_with_the_commands_that_restore_it(raw, tmp_path, part, kind):
    prepare(raw, tmp_path / "out", options())
    (pair, *_) = pairs(tmp_path / "out", part)
    path = getattr(pair, kind)
    write_png(path, 255 - read_rgb(path))  # it can still be decoded
    found = rf"{path}: damaged, .* Restore it with: dvc checkout --force prepare, or make it again with: dvc repro -sf prepare"
    with pytest.raises(SrganError, match=found):
        evaluate([pair], {"bicubic": lambda image: bicubic.bicubic_upscale(image, 4)}, 4)
    path.unlink()
    with pytest.raises(SrganError, match="made by: dvc repro prepare"):
        pair.read()


def test_the_images_of_a_manifest_without_digests_can_be_read(raw, tmp_path):
    """Former versions wrote the digest of the LR image only."""
    prepare(raw, tmp_path / "out", options())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for image in manifest["images"]:
        image.pop("hr_sha256", None)
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    (pair,) = pairs(tmp_path / "out", "test")
    assert [image.shape for image in pair.read()] == [read_image(pair.hr).shape, read_rgb(pair.lr).shape]


@pytest.mark.parametrize("kernel", ["matlab", "pillow"])
@pytest.mark.parametrize("scale", [2, 3, 5, 8])
def test_prepared_pairs_are_the_images_and_their_lr(raw, tmp_path, scale, kernel):
    manifest = prepare(raw, tmp_path / "out", options(scale=scale, kernel=kernel))
    (pair,) = pairs(tmp_path / "out", "test")
    expected = bicubic.modcrop(PLAIN["test/own/t.png"], scale)
    assert np.array_equal(read_rgb(pair.hr), expected)
    assert np.array_equal(read_rgb(pair.lr), bicubic.bicubic_downscale(expected, scale, kernel))
    store = Store(tmp_path / "out")
    assert len(store.names) + len(pairs(tmp_path / "out", "validation")) == 5
    for name, hr_view, lr_view in zip(store.names, store.hr, store.lr, strict=True):
        assert np.array_equal(hr_view, bicubic.modcrop(PLAIN[f"train/{name}.png"], scale))
        assert np.array_equal(lr_view, bicubic.bicubic_downscale(hr_view, scale, kernel))
    assert {path.suffix for path in (tmp_path / "out/train").iterdir()} == {".u8", ".json"}  # the store has them
    assert manifest["scale"] == scale
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize("recipe", ["bicubic", "gaussian-20"])
def test_one_channel_prepares_the_luma_and_leaves_the_test_images(raw, tmp_path, recipe):
    manifest = prepare(raw, tmp_path / "out", options(channels=1, recipe=recipe, reduced=()))
    assert manifest["channels"] == 1
    assert manifest["train_sha256"] != prepare(raw, tmp_path / "rgb", options(recipe=recipe))["train_sha256"]
    store = Store(tmp_path / "out")
    assert store.channels == 1
    store.verify()
    for name, hr_view in zip(store.names, store.hr, strict=True):
        assert np.array_equal(hr_view[..., 0], bicubic.modcrop(as_grey(PLAIN[f"train/{name}.png"]), 4))
    if recipe == "bicubic":
        for hr_view, lr_view in zip(store.hr, store.lr, strict=True):
            assert np.array_equal(lr_view[..., 0], bicubic.bicubic_downscale(np.ascontiguousarray(hr_view[..., 0]), 4))
    (validation,) = pairs(tmp_path / "out", "validation")
    assert [read_image(path).ndim for path in (validation.hr, validation.lr)] == [2, 2]
    (test,) = pairs(tmp_path / "out", "test")
    assert [read_image(path).ndim for path in (test.hr, test.lr)] == [3, 3]


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_number_of_processes_changes_no_bit(tmp_path):
    images = dict(PLAIN) | {"train/own/copy.png": PLAIN["train/own/c.png"], "train/own/small.png": picture(7, 20, 40)}
    images |= {f"train/more/{n}.png": picture(200 + n, 40 + 3 * n, 60 + n) for n in range(12)} | {"train/more/bad.png": b"no image"}
    raw = make_raw(tmp_path / "raw", images)
    for processes in (1, 2, 3):
        prepare(raw, tmp_path / f"out{processes}", options(max_unreadable=2), processes)
    assert everything(tmp_path / "out1") == everything(tmp_path / "out2") == everything(tmp_path / "out3")


def test_what_cannot_be_used_is_listed_and_skipped_up_to_a_limit(tmp_path, caplog):
    whole = io.BytesIO()
    Image.fromarray(picture(5, 300, 300)).save(whole, "PNG")
    bad = {
        "train/own/cut.png": whole.getvalue()[: len(whole.getvalue()) // 2],
        "train/own/text.jpg": b"hello",
        "train/own/tiny.png": picture(1, 31, 90),
    }
    raw = make_raw(tmp_path / "raw", PLAIN | bad)
    message = r"3 of 9 images cannot be used, prepare\.max_unreadable allows 2: .*. Replace or delete them, or raise"
    with pytest.raises(NotPrepared, match=message) as caught:
        prepare(raw, tmp_path / "out", options(max_unreadable=2))
    assert len(caught.value.left_out["skipped"]) == 3
    assert not (tmp_path / "out").exists()
    manifest = prepare(raw, tmp_path / "out", options(max_unreadable=3))
    reasons = {bad["image"]: bad["reason"] for bad in manifest["skipped"]}
    assert "truncated" in reasons["train/own/cut.png"]
    assert reasons["train/own/text.jpg"] == "not an image that can be read"
    assert reasons["train/own/tiny.png"] == "88x28 pixels, smaller than 32x32"
    assert "skipped train/own/cut.png" in caplog.text
    assert len(manifest["images"]) == 6


def test_training_images_that_show_held_out_pictures_are_left_out(tmp_path, caplog):
    """A copy, a re-encoded crop and a mirror image of a test image; and a copy of another training image."""
    astronaut, coffee = photo("astronaut.png"), photo("coffee.png")
    buffer = io.BytesIO()
    Image.fromarray(astronaut[60:420, 90:480]).resize((300, 270)).save(buffer, "JPEG", quality=60)
    images = {
        "train/own/a.png": photo("camera.png"),
        "train/own/b.png": photo("coins.png"),
        "train/own/c.png": photo("rocket.jpg"),
        "train/own/again.png": photo("rocket.jpg"),
        "train/own/same.png": astronaut,
        "train/own/cut.jpg": buffer.getvalue(),
        "train/own/mirrored.png": np.ascontiguousarray(coffee[:, ::-1]),
        "test/bench/astronaut.png": astronaut,
        "test/bench/coffee.png": coffee,
    }
    raw = make_raw(tmp_path / "raw", images)
    # A seed with which the one validation image is none of those that are looked at here.
    training = json.loads((raw / "manifest.json").read_text())["images"][:7]
    seed = next(seed for seed in range(50) if split(training, 0.01, 0, seed)[0] == "validation")
    manifest = prepare(raw, tmp_path / "out", options(validation=0.01, seed=seed), 2)
    assert {(leak["image"], leak["of"], leak["part"]) for leak in manifest["leaks"]} == {
        ("own/same", "bench/astronaut", "test"),
        ("own/cut", "bench/astronaut", "test"),
        ("own/mirrored", "bench/coffee", "test"),
    }
    assert [leak["matches"] == 0 for leak in manifest["leaks"]] == [leak["image"] == "own/same" for leak in manifest["leaks"]]
    assert manifest["duplicates"] == [{"image": "own/again", "of": "own/c"}]
    assert Store(tmp_path / "out").names == ["own/b", "own/c"]
    assert "left out own/cut: it shows bench/astronaut" in caplog.text
    page = tmp_path / "card.html"
    write_data_card(page, manifest, tmp_path / "out", raw)
    text = page.read_text()
    assert "own/cut" in text
    assert "&lt;own&gt; &amp; free" in text
    assert "<own>" not in text


def test_bsds500s_val_is_b100(mirror, tmp_path):
    """The leak that ruins published numbers, found without a B100 at hand, also when the files are smaller copies."""
    paths = sorted((mirror / "datasets/b100").iterdir())[::10]
    images = {f"train/val/{path.stem}.png": np.asarray(Image.fromarray(read_image(path)).reduce(2)) for path in paths}
    images |= {f"train/own/{n}.png": photo(name) for n, name in enumerate(("camera.png", "coins.png", "rocket.jpg"))}
    raw = make_raw(tmp_path / "raw", images | {"test/other/t.png": photo("chelsea.png")})
    training = json.loads((raw / "manifest.json").read_text())["images"][:13]
    seed = next(seed for seed in range(50) if {"train", "validation"} == set(split(training, 0.3, 0, seed)[10:]))
    manifest = prepare(raw, tmp_path / "out", options(validation=0.3, seed=seed), 2)
    caught = {(leak["image"], leak["of"], leak["part"]) for leak in manifest["leaks"]}
    assert caught == {(f"val/{path.stem}", f"b100/{path.stem}", "benchmark") for path in paths}
    assert {image["set"] for image in manifest["images"]} == {"own", "other"}
    assert not list((tmp_path / "out").rglob("val/*/*.png"))


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    images = {"train/own/a.png": photo("coffee.png"), "train/own/b.png": photo("camera.png")}
    images |= {"test/t/1.png": photo("coffee.png"), "test/t/2.png": photo("camera.png")}
    with pytest.raises(SrganError, match=r"no train image is left \(2 show held-out images, 0 cannot be used\)"):
        prepare(make_raw(tmp_path / "raw", images), tmp_path / "out", options())


def test_a_share_of_the_training_images_can_be_the_test(tmp_path):
    raw = make_raw(tmp_path / "raw", {f"train/own/{n}.png": picture(n) for n in range(30)})
    manifest = prepare(raw, tmp_path / "out", options(test=0.2))
    parts = [image["part"] for image in manifest["images"]]
    assert 2 <= parts.count("test") <= 12
    assert len(pairs(tmp_path / "out", "test")) == parts.count("test")


@pytest.fixture
def own_pairs(tmp_path):
    """A user's folder of HR images and of LR images that another degradation made, beside one of images to train with."""
    for number in range(4):
        write_png(tmp_path / "training" / f"{number}.png", picture(number + 20))
    for number in range(3):
        hr_image = picture(number, 48, 64)
        write_png(tmp_path / "mine" / "HR" / f"{number}.png", hr_image)
        write_png(tmp_path / "mine" / "LR" / f"{number}x4.png", hr_image[1::4, 2::4])
    write_png(tmp_path / "mine" / "HR" / "box1.png", picture(7, 48, 64))
    write_png(tmp_path / "mine" / "LR" / "box1.png", picture(7, 48, 64)[::4, ::4])
    return tmp_path / "mine"


def test_a_set_may_bring_its_own_lr_images(own_pairs, tmp_path):
    write_params(tmp_path, {"data.train": [str(tmp_path / "training")], "data.test": [str(own_pairs)]})
    for stage in ("download", "prepare"):
        run("srgan", stage, cwd=tmp_path)
    prepared = tmp_path / "data" / "prepared"
    found = [pair for pair in pairs(prepared, "test") if pair.set == "mine"]
    assert [pair.name for pair in found] == ["0", "1", "2", "box1"]
    for number, pair in enumerate(found[:3]):
        assert (read_rgb(pair.hr) == picture(number, 48, 64)).all()
        assert (read_rgb(pair.lr) == picture(number, 48, 64)[1::4, 2::4]).all()
    # Other LR images are another test.
    before = json.loads((prepared / "manifest.json").read_text())
    write_png(own_pairs / "LR" / "1x4.png", picture(1, 48, 64)[::4, ::4])
    for stage in ("download", "prepare"):
        run("srgan", stage, cwd=tmp_path)
    after = json.loads((prepared / "manifest.json").read_text())
    assert after["test_sha256"] != before["test_sha256"]
    assert after["train_sha256"] == before["train_sha256"]


def test_pairs_that_do_not_fit_are_told(own_pairs, tmp_path):
    write_params(tmp_path, {"data.train": [str(tmp_path / "training")], "data.test": [str(own_pairs)]})
    write_png(own_pairs / "LR" / "1x4.png", picture(1, 24, 32))
    run("srgan", "download", cwd=tmp_path)
    failed = run("srgan", "prepare", cwd=tmp_path, check=False)
    assert failed.returncode == 1
    assert "test/mine/HR/1.png: its LR image has 32x24 pixels, at scale 4 it needs 16x12" in failed.stderr
    (own_pairs / "LR" / "1x4.png").write_bytes(b"no image")
    run("srgan", "download", cwd=tmp_path)
    assert "its LR image: not an image that can be read" in run("srgan", "prepare", cwd=tmp_path, check=False).stderr
    write_png(own_pairs / "preview.png", picture(9))
    failed = run("srgan", "download", cwd=tmp_path, check=False)
    assert "preview.png is in neither of the folders HR and LR" in failed.stderr
    (own_pairs / "preview.png").unlink()
    write_png(own_pairs / "LR" / "1.png", picture(1, 12, 16))  # beside 1x4.png: which one is it?
    failed = run("srgan", "download", cwd=tmp_path, check=False)
    assert "HR/1.png has several LR images: LR/1.png and LR/1x4.png. Name the folder" in failed.stderr
    (own_pairs / "LR" / "1.png").unlink()
    (own_pairs / "LR" / "1x4.png").unlink()
    failed = run("srgan", "download", cwd=tmp_path, check=False)
    assert "HR/1.png has no partner of that name in the other of the folders HR and LR" in failed.stderr


def test_grey_images_stay_grey_where_they_are_scored(tmp_path):
    grey = picture(50)[..., 0]
    raw = make_raw(tmp_path / "raw", {f"train/own/{n}.png": picture(n)[..., 0] for n in range(4)} | {"test/own/grey.png": grey})
    prepare(raw, tmp_path / "out", options(scale=2))
    (pair,) = pairs(tmp_path / "out", "test")
    assert np.array_equal(read_image(pair.hr), bicubic.modcrop(grey, 2))
    assert read_image(pair.lr).ndim == 2
    assert all(image.shape[2] == 3 for image in Store(tmp_path / "out").hr)


def test_a_former_result_survives_a_failed_prepare(raw, tmp_path):
    prepare(raw, tmp_path / "out", options())
    before = everything(tmp_path / "out")
    (raw / "train/own/b.png").write_bytes(b"broken")
    with pytest.raises(NotPrepared):
        prepare(raw, tmp_path / "out", options())
    (raw / "train/own/b.png").unlink()
    with pytest.raises(SrganError, match=r"b\.png: no such file"):
        prepare(raw, tmp_path / "out", options())
    assert everything(tmp_path / "out") == before


# -- as a command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    write_params(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def test_the_card_lists_what_was_wrong_even_if_the_stage_fails(folder):
    make_raw(folder / "data/raw", PLAIN | {"train/own/<b>.png": b"broken"})
    done = run("srgan", "prepare", cwd=folder, check=False)
    assert done.returncode == 1
    assert "1 of 7 images cannot be used, prepare.max_unreadable allows 0: train/own/<b>.png: not an image" in done.stderr
    assert done.stderr.strip().endswith("All of them: reports/data.html")
    assert "train/own/&lt;b&gt;.png" in (folder / "reports/data.html").read_text()


def test_the_card_opens_without_a_network_and_shows_what_there_is(folder):
    make_raw(folder / "data/raw", PLAIN)
    run("srgan", "prepare", cwd=folder)
    card = (folder / "reports/data.html").read_text()
    assert card.count("data:image/jpeg;base64,") == 6 + 2 * 6  # a contact sheet, and as few images all have their HR/LR pair
    for shown in ("Train: 4 images", "Validation: 1 image", "Test: 1 image", "No images were left out", "60\u00d748"):
        assert shown in card, shown
    for needless in ("<script", 'src="http', "url("):
        assert needless not in card


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGINT))]
)
def test_a_killed_prepare_leaves_no_process_and_no_half_result(folder, number):
    raw = make_raw(folder / "data/raw", {f"train/own/{n}.png": picture(n, 800, 1200) for n in range(4)} | {"test/own/t.png": picture(99)})
    listing = json.loads((raw / "manifest.json").read_text())
    for n in range(4, 60):
        os.link(raw / "train/own/0.png", raw / f"train/own/{n}.png")
        listing["images"].append(listing["images"][0] | {"path": f"train/own/{n}.png", "sha256": f"{n:064x}"})
    (raw / "manifest.json").write_text(json.dumps(listing))
    command = ["srgan", "prepare", "--processes", "2"]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    end, workers = time.monotonic() + 60, list[psutil.Process]()
    while len(workers) < 2 or not list((folder / "data").glob(".prepared.*")):  # the pixels are being made or written
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
        workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    process.send_signal(number)
    process.wait(timeout=30)
    if number != signal.SIGKILL:
        assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert [path.name for path in (folder / "data").iterdir()] == ["raw"]
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    shutil.rmtree(raw)
    make_raw(raw, PLAIN)
    run("srgan", "prepare", cwd=folder)
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["prepared", "raw"]


def test_a_nonsensical_number_of_processes_is_refused(folder):
    done = run("srgan", "prepare", "--processes", "0", cwd=folder, check=False)
    assert done.returncode == 2
    assert "'--processes': Input should be greater than or equal to 1" in done.stderr


# -- recipes -----------------------------------------------------------------------------------------------------------


NOISY = "gaussian-20"


def test_the_inputs_of_a_recipe_are_made_once_and_depend_on_the_pixels_and_the_seed(raw, tmp_path):
    manifest = prepare(raw, tmp_path / "out", options(recipe=NOISY))
    (pair,) = pairs(tmp_path / "out", "test")
    hr_image, lr_image = pair.read()
    noise = lr_image.astype(int) - bicubic.bicubic_downscale(hr_image, 4)
    assert 10 < noise.std() < 30
    (record,) = (image for image in manifest["images"] if image["part"] == "test")
    assert [step["name"] for step in record["drawn"]] == ["downscale", "noise"]
    assert record["drawn"][1]["strength"] == 20
    assert manifest["recipe"]["name"] == NOISY
    again = prepare(raw, tmp_path / "again", options(recipe=NOISY), processes=3)
    assert again == manifest
    # Another name changes nothing. Another seed and other pixels do.
    moved = make_raw(tmp_path / "moved", {key.replace("/t.", "/u."): value for key, value in PLAIN.items()})
    images = [image for image in prepare(moved, tmp_path / "out", options(recipe=NOISY))["images"] if image["part"] == "test"]
    assert (images[0]["name"], images[0]["lr_sha256"]) == ("u", record["lr_sha256"])
    other = prepare(raw, tmp_path / "out", options(recipe=NOISY, seed=1))
    assert other["test_sha256"] != manifest["test_sha256"]
    assert record["lr_sha256"] not in {image.get("lr_sha256") for image in other["images"]}


def test_the_digests_of_the_data_contain_the_recipe(raw, tmp_path):
    recipes = ("bicubic", "gaussian-20", "gaussian-21", ({"name": "resize"}, {"name": "downscale"}))
    made = [prepare(raw, tmp_path / "out", options(recipe=recipe)) for recipe in recipes]
    for key in ("train_sha256", "test_sha256"):
        assert len({manifest[key] for manifest in made}) == len(recipes)
    assert prepare(raw, tmp_path / "out", options(recipe=NOISY, variants=9))["train_sha256"] == made[1]["train_sha256"]


def test_the_store_of_a_recipe_has_no_lr_images(raw, tmp_path):
    prepare(raw, tmp_path / "out", options(recipe=NOISY))
    store = Store(tmp_path / "out")
    assert (store.variants, store.recipe.name, store.lr) == (0, NOISY, [])
    assert sum(image.size for image in store.hr) == store.size


def test_variants_are_made_ahead_for_a_step_that_cannot_run_in_the_training(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(DEGRADATIONS, "noise", replace(DEGRADATIONS["noise"], ahead=True))
    prepare(raw, tmp_path / "out", options(recipe=NOISY, variants=3))
    store = Store(tmp_path / "out")
    assert store.variants == 3
    for hr_image, variants in zip(store.hr, store.lr_variants, strict=True):
        assert len({variant.tobytes() for variant in variants}) == 3
        small = bicubic.bicubic_downscale(hr_image, 4).astype(int)
        assert all(10 < (variant - small).std() < 30 for variant in variants)
    former = Store(tmp_path / "out").sha256
    prepare(raw, tmp_path / "out", options(recipe=NOISY, variants=2, seed=0))
    assert (Store(tmp_path / "out").variants, Store(tmp_path / "out").sha256 != former) == (2, True)


def test_scale_1_prepares_inputs_of_the_size_of_the_original(raw, tmp_path):
    prepare(raw, tmp_path / "out", options(scale=1))
    store = Store(tmp_path / "out")
    assert all(np.array_equal(lr_image, hr_image) for hr_image, lr_image in zip(store.hr, store.lr, strict=True))
    manifest = prepare(raw, tmp_path / "out", options(scale=1, recipe=NOISY))
    write_data_card(tmp_path / "card.html", manifest, tmp_path / "out", raw)
    assert "Inputs: recipe gaussian-20, of the same size as the originals. The split" in (tmp_path / "card.html").read_text()
    hr_image, lr_image = pairs(tmp_path / "out", "test")[0].read()
    assert hr_image.shape == lr_image.shape
    assert 10 < (lr_image.astype(int) - hr_image).std() < 30


def with_inputs(raw, *inputs):
    """What `download` adds for test sets with recipes of their own."""
    listing = json.loads((raw / "manifest.json").read_text())
    rows = [{"set": "own", "name": f"own+{recipe}" if recipe else "own", "recipe": recipe} for recipe in inputs]
    (raw / "manifest.json").write_text(json.dumps(listing | {"inputs": rows}))
    return raw


def test_a_test_set_is_prepared_under_several_recipes(raw, tmp_path):
    plain = prepare(raw, tmp_path / "plain", options())
    manifest = prepare(with_inputs(raw, None, "gaussian-20", "gaussian-40"), tmp_path / "out", options())
    first, weak, strong = pairs(tmp_path / "out", "test")
    assert [pair.set for pair in (first, weak, strong)] == ["own", "own+gaussian-20", "own+gaussian-40"]
    assert first.hr == weak.hr == strong.hr  # one original
    hr_image, small = first.read()
    assert np.array_equal(small, bicubic.bicubic_downscale(hr_image, 4))
    assert 10 < (weak.read()[1] - small.astype(float)).std() < 25 < (strong.read()[1] - small.astype(float)).std()
    assert manifest["test_recipes"].keys() == {"own+gaussian-20", "own+gaussian-40"}
    assert [image["drawn"][1]["strength"] for image in manifest["images"] if "drawn" in image] == [20, 40]
    assert manifest["train_sha256"] == plain["train_sha256"]
    for name in ("train/index.json", "train/00000.json", "train/00000.u8"):
        assert sha256(tmp_path / "out" / name) == sha256(tmp_path / "plain" / name)
    fewer = prepare(with_inputs(raw, "gaussian-40"), tmp_path / "out", options())
    assert [pair.set for pair in pairs(tmp_path / "out", "test")] == ["own+gaussian-40"]
    assert len({plain["test_sha256"], manifest["test_sha256"], fewer["test_sha256"]}) == 3


def test_the_card_shows_what_each_recipe_makes_of_originals_and_how(raw, tmp_path):
    raw = with_inputs(raw, "bicubic", "gaussian", "gaussian-40")
    manifest = prepare(raw, tmp_path / "out", options(recipe=({"name": "resize"}, {"name": "downscale"}, {"name": "noise"})))
    write_data_card(tmp_path / "card.html", manifest, tmp_path / "out", raw)
    card = (tmp_path / "card.html").read_text()
    for shown in (
        "recipe resize, downscale, noise, 1/4 of the size",
        "Recipe of the training: resize, downscale, noise",
        "Recipe of the test set own+gaussian-40",
        "Test: 1 image<",  # of three rows
        "noise: gaussian, strength 40",
        "{name: noise, kinds: {gaussian: 1.0}, sigma: [40.0, 40.0], grey: 0.0}",
    ):
        assert shown in card, shown
    assert "Recipe of the test set own+bicubic" not in card  # it makes one input, which is a pair of the page
    assert card.count("data:image/png;base64,") == 9 * (2 + 1 + 1)  # two training images and the test image twice
    assert card.count('alt="own/t, input 8"') == 2
    assert len(card) < 1_000_000


def test_recipes_of_test_sets_that_this_program_lacks_are_refused(raw, tmp_path):
    with pytest.raises(SrganError, match=r"raw/manifest\.json: the recipes of the test sets are not valid.* dvc repro -sf download"):
        prepare(with_inputs(raw, "gone-7"), tmp_path / "out", options())


def test_own_lr_images_of_the_training_and_a_recipe_exclude_each_other(raw, tmp_path):
    listing = json.loads((raw / "manifest.json").read_text())
    for image in listing["images"]:
        image["lr"] = [image | {"scale": 4}]
    (raw / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(SrganError, match=r"data set own has LR images of its own, which prepare\.recipe would replace"):
        prepare(raw, tmp_path / "out", options(recipe=NOISY))


def test_reduced_copies_of_the_training_images_join_the_store(tmp_path):
    large = {f"train/own/{name}.png": picture(10 + number, 210, 300) for number, name in enumerate("uvw")}
    raw = make_raw(tmp_path / "raw", PLAIN | large)
    plain = prepare(raw, tmp_path / "plain", options())
    made = prepare(raw, tmp_path / "out", options(reduced=(2, 3)))
    store = Store(tmp_path / "out")
    copies = [number for number, name in enumerate(store.names) if "(" in name]
    for image in made["images"]:
        if image["part"] == "train":  # a copy of 70 or 25 pixels has no room for a patch
            assert image["reduced"] == ([2] if image["name"] in "uvw" else [])
    assert len(copies) == sum(len(image.get("reduced", [])) for image in made["images"]) >= 1
    for number in copies:
        assert store.hr[number].shape == (104, 148, 3)  # 105x150, cut to multiples of the scale
        original = store.hr[store.names.index(store.names[number].removesuffix(" (1/2)"))]
        assert np.array_equal(store.hr[number][:80, :80], bicubic.bicubic_downscale(original, 2)[:80, :80])
        assert np.array_equal(store.lr[number], bicubic.bicubic_downscale(store.hr[number], 4))
    store.verify()
    assert made["train_sha256"] != plain["train_sha256"]
    assert made["test_sha256"] == plain["test_sha256"]


def test_reduced_copies_and_own_lr_images_exclude_each_other(raw, tmp_path):
    listing = json.loads((raw / "manifest.json").read_text())
    for image in listing["images"]:
        image["lr"] = [image | {"scale": 4}]
    (raw / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(SrganError, match=r"which reduced copies do not have\. Set prepare\.reduced to \[\]"):
        prepare(raw, tmp_path / "out", options(reduced=(2,)))
