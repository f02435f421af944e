"""The choice of the images: what is left out, folds, and validation images."""

import logging

import numpy as np
import pytest
from PIL import Image

from srgan.config.project import Project
from srgan.data.split import split
from srgan.finetuning import images
from srgan.finetuning.images import Images, folds, select, with_split
from srgan.finetuning.options import Request, open_start, parameters
from srgan.images.read import read_rgb
from srgan.utils.errors import SrganError
from tests.helpers.finetuning import photos


@pytest.fixture
def chosen(tmp_path):
    """Return a function that selects the images of folders."""

    def run(test=""):
        project = Project(tmp_path)
        request = Request("x4-photo", str(tmp_path / "data"), test and str(tmp_path / test), "n")
        params = parameters(project, request, open_start(project, "x4-photo"), "bicubic")
        return select(Project(tmp_path / "images"), params, bool(test)), params

    return run


def test_unusable_images_are_named_and_counted(tmp_path, chosen, caplog):
    photos(tmp_path / "data", 6)
    photos(tmp_path / "test", 2, first=10)
    (tmp_path / "data" / "broken.png").write_bytes((tmp_path / "data" / "0.png").read_bytes()[:300])
    (tmp_path / "data" / "notes.txt").write_text("no image")
    Image.fromarray(read_rgb(tmp_path / "data" / "0.png")[:40, :40]).save(tmp_path / "data" / "tiny.png")
    Image.fromarray(read_rgb(tmp_path / "data" / "1.png")).save(tmp_path / "data" / "z-copy.bmp")
    Image.fromarray(read_rgb(tmp_path / "test" / "10.png")).save(tmp_path / "data" / "z-held-out.bmp")
    caplog.set_level(logging.INFO)
    found, _ = chosen("test")
    assert sorted(record["path"] for record in found.train) == [f"train/data/{number}.png" for number in range(6)]
    reasons = {row["reason"]: (row["count"], row["examples"]) for row in found.left_out}
    assert reasons["damaged, or no image"] == (1, ["broken.png"])
    assert reasons["smaller than 96x96 pixels"] == (1, ["tiny.png"])
    assert reasons["shows the same as train/data/1.png"] == (1, ["z-copy.bmp"])
    assert reasons["shows the same as test/test/10.png"] == (1, ["z-held-out.bmp"])
    assert any("notes.txt" in row["examples"] for row in found.left_out)
    assert "left out 1 of data: damaged, or no image (broken.png)" in caplog.text


def test_too_few_images_are_refused_with_the_reasons(tmp_path, chosen):
    photos(tmp_path / "data", 4)
    (tmp_path / "data" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(SrganError, match=r"data: 4 images to learn from, at least 5 are needed; left out: 1 of data: damaged.*--adapt"):
        chosen()


def test_one_test_image_gives_no_interval(tmp_path, chosen):
    photos(tmp_path / "data", 5)
    photos(tmp_path / "test", 1, first=10)
    with pytest.raises(SrganError, match="1 test images, an interval needs at least 2"):
        chosen("test")


@pytest.mark.parametrize("count", [5, 6, 9, 50])
def test_each_image_is_held_out_once(count):
    records = [{"path": f"train/d/{n}.png", "sha256": f"{n * 7919 % 65521:064x}", "group": ""} for n in range(count)]
    found = folds(records)
    assert len(found) == images.MAX_FOLDS
    assert sorted(record["path"] for part in found for record in part) == sorted(record["path"] for record in records)
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(("count", "validation"), [(5, 1), (11, 1), (12, 2), (50, 4)])
def test_the_split_has_the_wanted_number_of_validation_images(tmp_path, chosen, count, validation):
    photos(tmp_path / "data", 5)
    _, params = chosen()
    records = [{"path": f"train/d/{n}.png", "sha256": f"{n * 7919 % 65521:064x}", "group": ""} for n in range(count)]
    changed = with_split(Images(tmp_path, records, [], []), [], params).prepare
    assert split(records, changed.validation, 0, changed.seed).count("validation") == validation


def test_a_fold_sees_none_of_its_test_images(tmp_path, chosen):
    photos(tmp_path / "data", 6)
    found, params = chosen()
    held_out = folds(found.train)[0]
    project = Project(tmp_path / "fold")
    images.place(project, found, held_out)
    listed = images.read_json(project.raw / images.FILE, made_by="finetune")["images"]
    assert {record["path"] for record in listed if record["split"] == "test"} == {record["path"] for record in held_out}
    assert len(listed) == 6
    assert all((project.raw / record["path"]).is_file() for record in listed)
    assert np.isclose(with_split(found, held_out, params).prepare.validation, 1 / 4)
