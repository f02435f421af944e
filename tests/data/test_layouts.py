"""HR and LR images in the layouts of the field, and what a data set leaves out: by the commands, as a user has them."""

import json
import os
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from srgan.data.layouts import find_pairs
from srgan.data.manifest import pairs
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.project import make_project, write_params

# HR and LR of image 0001 at x4.
LAYOUTS = {
    "DIV2K": ("DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png"),
    "DIV2K, mild": ("DIV2K_train_HR/0001.png", "DIV2K_train_LR_mild/0001x4m.png"),
    "sub-images": ("DIV2K_train_HR_sub/0001_s001.png", "DIV2K_train_LR_bicubic/X4_sub/0001_s001.png"),
    "BasicSR": ("gt/0001.png", "lq/0001.png"),
    "BasicSR, marked": ("GT_photos/0001.png", "lq/0001_bicLRx4.png"),
    "BasicSR, Set5": ("Set5/GTmod12/baby.png", "Set5/LRbicx4/baby.png"),
    "target": ("target/a/0001.png", "input/a/0001.png"),
    "HR below the part": ("val/HR/0001.png", "val/LR/0001.png"),
    "names of their own": ("photos_HR/0001.png", "small_LR_x4/0001.png"),
    "one folder": ("img_001_SRF_4_HR.png", "img_001_SRF_4_LR.png"),
    "RealSR": ("Canon/4/Canon_001_HR.png", "Canon/4/Canon_001_LR4.png"),
    "nested": ("input/HR/x.png", "input/LR/x.png"),
    "as it was": ("HR/box1.png", "LR/box1x4.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hr_and_lr_images_are_paired_in_the_layouts_of_the_field(layout):
    hr_path, lr_path = LAYOUTS[layout]
    (pair,), outside = find_pairs([hr_path, lr_path])
    assert (pair.hr, list(pair.lr.values()), outside) == (hr_path, [lr_path], [])
    assert list(pair.lr) in ([0], [4])
    assert "HR" not in pair.name


@pytest.mark.parametrize(
    "paths",
    [
        ["HR/1.png", "HR/2.png"],  # no LR side
        ["24 hr race/1.png", "other/1.png"],
        ["max8/1.png", "max4/1.png"],
        ["a/input/1.png", "a/output/1.png"],
    ],
)
def test_other_folders_are_no_pairs(paths):
    assert find_pairs(paths)[0] == find_pairs(paths, hr=".")[0]
    assert [pair.hr for pair in find_pairs(paths)[0]] == paths


def test_two_kinds_of_lr_images_at_one_scale_are_refused():
    paths = ["HR/1.png", "LR_bicubic/X4/1x4.png", "LR_unknown/X4/1x4.png"]
    with pytest.raises(SrganError, match=r"HR/1\.png has several LR images: .* Name the folder"):
        find_pairs(paths)
    (pair,), outside = find_pairs(paths, hr="HR", lr="LR_unknown/X4")
    assert (pair.lr, outside) == ({4: "LR_unknown/X4/1x4.png"}, ["LR_bicubic/X4/1x4.png"])
    (pair,), _ = find_pairs([*paths, "LR_unknown/X2/1x2.png"], hr="HR", lr="LR_unknown")
    assert pair.lr == {4: "LR_unknown/X4/1x4.png", 2: "LR_unknown/X2/1x2.png"}


# -- by the commands -----------------------------------------------------------------------------------------------------


def picture(seed, height=96, width=128):
    """Random blobs, no two pictures alike."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_pairs(folder, hr_name, lr_names, count=6):
    """HR images, and LR images of each scale; ``{}`` of a name becomes the image's number."""
    for number in range(count):
        hr_image = picture(number)
        write_png(folder / hr_name.format(f"{number:04}"), hr_image)
        for scale, name in lr_names.items():
            write_png(folder / name.format(f"{number:04}"), hr_image[1::scale, 1::scale])


@pytest.fixture
def place(tmp_path):
    """A folder with data sets, and ``work``, where the commands run."""
    (tmp_path / "work").mkdir()
    return tmp_path


def download(place, entry, check=True, **changes):
    write_params(place / "work", {"data.train": [entry], "prepare.validation": 0.2} | changes)
    return run("srgan", "download", cwd=place / "work", check=check, COLUMNS="200")


def prepare(place, check=True):
    return run("srgan", "prepare", "--processes", "1", cwd=place / "work", check=check)


def manifest(place, name="prepared"):
    return json.loads((place / "work" / "data" / name / "manifest.json").read_text())


def test_div2ks_own_layout_trains_on_its_hr_images_with_its_lr_images_of_the_scale(place):
    lr_names = {scale: f"DIV2K_train_LR_bicubic/X{scale}/{{}}x{scale}.png" for scale in (2, 3, 4)}
    write_pairs(place / "d_div", "DIV2K_train_HR/{}.png", lr_names)
    download(place, "../d_div")
    prepare(place)
    found = [image for image in manifest(place)["images"] if image["set"] == "d_div"]
    assert sorted(image["name"] for image in found) == [f"DIV2K_train_{number:04}" for number in range(6)]
    assert {(image["height"], image["width"]) for image in found} == {(96, 128)}
    (pair, *_) = pairs(place / "work/data/prepared", "validation")
    assert (read_rgb(pair.lr) == picture(int(pair.name[-4:]))[1::4, 1::4]).all()
    assert "(d_div: LR images of the data set)" in (place / "work/reports/data.html").read_text()
    rows = {row["reason"]: row["count"] for row in manifest(place)["left_out"]}
    assert rows == {"an LR image at x2, prepare.scale is 4": 6, "an LR image at x3, prepare.scale is 4": 6}
    card = (place / "work/reports/data.html").read_text()
    assert "an LR image at x2, prepare.scale is 4" in card
    assert "DIV2K_train_LR_bicubic/X2/0000x2.png" in card
    # A scale that the set does not have.
    write_params(place / "work", {"data.train": ["../d_div"], "prepare.scale": 8})
    assert "has LR images at x2, x3, x4, prepare.scale is 8" in prepare(place, check=False).stderr


def test_hr_and_lr_images_in_folders_of_any_name_are_refused_until_they_are_named(place):
    write_pairs(place / "photos", "sharp/{}.png", {4: "soft/{}.png"})
    refused = download(place, "../photos", check=False)
    assert refused.returncode == 1
    assert "soft/0000.png shows the same as sharp/0000.png at 1/4 of the size: they look like LR and HR images" in refused.stderr
    assert "{folder: ../photos, hr: sharp, lr: soft}" in refused.stderr
    download(place, {"folder": "../photos", "name": "mine", "hr": "sharp", "lr": "soft"})
    images = manifest(place, "raw")["images"]
    first = next(image for image in images if image["set"] == "mine")
    assert (first["path"], first["lr"][0]["path"]) == ("train/mine/sharp/0000.png", "train/mine/soft/0000.png")
    # The HR images alone; the others are named.
    done = download(place, {"folder": "../photos", "hr": "sharp"})
    assert "left out 6 of photos: outside of the folders that params.yaml names as hr and lr (soft/0000.png, " in done.stderr
    assert all("lr" not in image for image in manifest(place, "raw")["images"])
    assert not (place / "work/data/raw/train/photos/soft/0000.png").exists()
    refused = download(place, {"folder": "../photos", "hr": "shrap"}, check=False)
    assert "there are no images in a folder 'shrap', which params.yaml names as hr" in refused.stderr


def test_folders_in_an_archive_are_named_as_they_are_there(place):
    write_pairs(place / "photos", "sharp/{}.png", {4: "soft/{}.png"})
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        for path in (place / "photos").rglob("*.png"):
            archive.write(path, path.relative_to(place))
    for keys, lr_images in (({"hr": "photos/sharp", "lr": "photos/soft"}, 6), ({"hr": "sharp"}, 0)):
        download(place, {"folder": "../all.zip"} | keys)
        images = [image for image in manifest(place, "raw")["images"] if image["set"] == "all"]
        assert (len(images), sum("lr" in image for image in images)) == (6, lr_images)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"folder": "../photos", "name": "set5"}, "name: 'set5' is a data set of the catalogue. Choose another name"),
        ({"folder": "set5"}, "set5: no such folder or archive"),
        ({"folder": "https://127.0.0.1:9/a.png"}, "'https://127.0.0.1:9/a.png' is the address of one image. Write it without keys"),
    ],
)
def test_an_entry_with_keys_that_means_something_else_is_refused(place, entry, said):
    (place / "photos").mkdir()
    refused = download(place, entry, check=False)
    assert refused.stderr == f"srgan download: error: params.yaml: data.train: {said}\n"


def test_equal_names_in_two_folders_are_no_pairs_if_the_pictures_differ(place):
    for number in range(6):
        write_png(place / "photos" / "cars" / f"{number}.png", picture(number))
        write_png(place / "photos" / "dogs" / f"{number}.png", picture(100 + number, 48, 64))
    download(place, "../photos")
    assert sum(image["set"] == "photos" for image in manifest(place, "raw")["images"]) == 12


def test_two_folders_with_one_last_name_get_names_of_their_own(place):
    for name in ("a", "b"):
        write_pairs(place / name / "HR_only", "{}.png", {}, count=3 if name == "a" else 6)
    write_params(place / "work", {"data.train": ["../a/HR_only", "../b/HR_only"]})
    refused = run("srgan", "download", cwd=place / "work", check=False)
    assert "two data sets are called 'HR_only'. Give one a name of its own: {folder: ..., name: ...}" in refused.stderr
    write_params(place / "work", {"data.train": ["../a/HR_only", {"folder": "../b/HR_only", "name": "b"}]})
    run("srgan", "download", cwd=place / "work")
    assert {image["set"] for image in manifest(place, "raw")["images"]} == {"HR_only", "b", "sample"}
    assert "../b/HR_only: your own, without recorded terms" in run("srgan", "data", "licence", cwd=place / "work").stdout


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "x"}, "data.train[0].folder: is missing"),
        ({"folder": "../a", "hrr": "x"}, "data.train[0].hrr: unknown option; did you mean hr?"),
        ({"folder": "../a", "lr": "x"}, "data.train[0].lr: needs hr too"),
        ({"folder": "../a", "hr": "../x"}, "data.train[0].hr: must be a path inside folder, without '..'"),
        ({"folder": "../a", "name": "a/b"}, "data.train[0].name: may hold letters"),
    ],
)
def test_a_wrong_key_of_an_entry_is_named_with_its_line(place, entry, message):
    refused = download(place, entry, check=False)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "params.yaml:" in refused.stderr


def test_lr_images_rounded_up_are_refused_with_the_way_to_make_them_right(place):
    for number in range(4):
        write_png(place / "mine" / "HR" / f"{number}.png", picture(number, 99, 151))
        write_png(place / "mine" / "LR" / f"{number}.png", picture(number, 25, 38))
    download(place, "../mine")
    refused = prepare(place, check=False)
    assert "its LR image has 38x25 pixels, at scale 4 it needs 37x24: cut the HR image to a multiple of 4 pixels first" in refused.stderr


def test_composed_and_decomposed_names_are_partners(place):
    write_pairs(place / "mac", unicodedata.normalize("NFC", "HR/Grüße{}.png"), {4: unicodedata.normalize("NFD", "LR/Grüße{}.png")})
    download(place, "../mac")
    assert all(len(image["lr"]) == 1 for image in manifest(place, "raw")["images"] if image["set"] == "mac")


# -- what is left out ----------------------------------------------------------------------------------------------------


def test_linked_folders_are_followed_and_what_is_left_out_is_named_in_the_log_and_on_the_card(place):
    photos = place / "photos"
    write_pairs(photos, "own{}.png", {}, count=3)
    write_pairs(place / "flickr", "f{}.png", {}, count=4)
    for number in range(4):
        write_png(place / "flickr" / f"f{number:04}.png", picture(50 + number))
    (photos / "flickr2k").symlink_to(place / "flickr")
    (photos / "again").symlink_to(photos)  # a cycle
    (photos / "gone").symlink_to("nowhere")  # a disk that is not mounted
    (photos / "raw.heic").write_bytes(b"x")
    (photos / "notes").write_text("x")
    write_png(photos / ".thumbs" / "t.png", picture(70))
    write_png(photos / "._own.png", picture(71))
    done = download(place, "../photos")
    names = {image["path"].removeprefix("train/photos/") for image in manifest(place, "raw")["images"] if image["set"] == "photos"}
    assert names == {*(f"own{number:04}.png" for number in range(3)), *(f"flickr2k/f{number:04}.png" for number in range(4))}
    prepare(place)
    card = (place / "work/reports/data.html").read_text()
    for reason, example in (
        ("a folder that is included already, under another path", "again"),
        ("a broken link", "gone"),
        ("ends in .heic, which is not read", "raw.heic"),
        ("has no suffix, so it is not read", "notes"),
        ("hidden folder", ".thumbs"),
        ("hidden", "._own.png"),
    ):
        assert f"left out 1 of photos: {reason} ({example})" in done.stderr
        assert f'<td class="long">{reason}</td><td class="long">{example}</td>' in card


def test_images_beside_train_and_test_are_named(place):
    for name in ("train/a", "train/b", "train/c", "test/t", "val/v"):
        write_png(place / "photos" / f"{name}.png", picture(len(name) * ord(name[-1])))
    done = download(place, "../photos")
    assert "left out 1 of photos: outside of the folders train and test (val/v.png)" in done.stderr
    assert "left out 1 of photos: in a folder of the other split (test/t.png)" in done.stderr
    done = download(place, "../photos", **{"data.test": ["../photos"]})
    assert "of the other split" not in done.stderr


def test_file_names_that_no_tool_accepts_get_safe_ones(place):
    """Bytes that are not UTF-8, control characters, names of 255 bytes: through DVC, and through the pages."""
    photos = place / "photos"
    names = [b"f\xfcr.png", b"stra\xdfe/n.png", b"\x1b[31mred.png", b"a\nb.png", "漢".encode() * 80 + b".png", b"=cmd.png"]
    for number, name in enumerate(names):
        path = photos / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        Image.fromarray(picture(number)).save(path, "PNG")
    make_project(place / "work", {"data.train": ["../photos"], "prepare.validation": 0.2})
    done = run("dvc", "repro", "download", cwd=place / "work")
    assert "\x1b" not in done.stderr
    raw = place / "work/data/raw"
    paths = [image["path"] for image in manifest(place, "raw")["images"] if image["set"] == "photos"]
    assert {"train/photos/f%FCr.png", "train/photos/stra%DFe/n.png", "train/photos/%1B[31mred.png", "train/photos/a%0Ab.png"} < set(paths)
    for path in paths:
        assert (raw / path).is_file()
        assert max(len(part.encode()) for part in path.split("/")) <= 200
    prepare(place)
    labels = [image["name"] for image in manifest(place)["images"] if image["set"] == "photos"]
    assert len(labels) == 6
    assert "_=cmd" in labels
    assert (place / "work/reports/data.html").read_bytes().decode().count("f%FCr") > 0
