import json
import re
import shutil
import stat
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from srgan.study import create as creation
from srgan.study.create import create
from srgan.study.files import code_digest, new_code, read_key, read_study
from srgan.study.rate_page import served_page, write_static_page
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.raters import write_pictures

MODELS = ["swift", "steady", "champion"]


def naming(model):
    """Metadata that names a model, as `srgan upscale` writes it."""
    info = PngInfo()
    info.add_text("AISystemUsed", model)
    return info


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study whose pictures name their models in the metadata."""
    place = tmp_path_factory.mktemp("made")
    arguments = write_pictures(place / "in", MODELS)
    for path in (place / "in").rglob("*.png"):
        with Image.open(path) as image:
            image.save(path, pnginfo=naming(path.parent.name))
    create(place / "s", arguments, raters=2, pairs=18, checks=4, crop=80, seed=271828182845)
    return place / "s"


def test_what_raters_get_does_not_tell_the_models(folder, tmp_path):
    study = read_study(folder)
    key = read_key(folder, study)
    write_static_page(folder, study, tmp_path / "rate.html")
    seen = [(folder / "study.json").read_bytes(), served_page(study).encode(), (tmp_path / "rate.html").read_bytes()]
    seen += [path.read_bytes() for path in (folder / "pictures").iterdir()]
    for content in seen:
        for secret in (*MODELS, "image-0", "image-5", str(key.seed), *key.codes, *(code.replace("-", "") for code in key.codes)):
            assert secret.encode() not in content, secret
    assert stat.S_IMODE((folder / "key.json").stat().st_mode) == 0o600


def test_the_plan_is_balanced_and_each_rater_has_an_own_order(folder):
    study = read_study(folder)
    key = read_key(folder, study)
    assert len(study.raters) == 2
    trials = [[tuple(sorted(trial)) for trial in rater.trials] for rater in study.raters]
    assert trials[0] != trials[1]
    assert sorted(trials[0]) == sorted(trials[1])
    for rater in study.raters:
        models = [tuple(key.pictures[name].model for name in trial) for trial in rater.trials]
        assert len(models) == 22
        assert Counter(frozenset(pair) for pair in models if None not in pair) == {frozenset(pair): 6 for pair in
            (MODELS[:2], MODELS[1:], MODELS[::2])}  # fmt: skip
        assert sum(None in pair for pair in models) == 4
        assert all(len({key.pictures[name].image for name in trial}) == 1 for trial in rater.trials)


def test_the_seed_seals_comparisons_order_and_sides(tmp_path):
    def plan(name, seed):
        create(tmp_path / name, arguments, raters=2, pairs=10, checks=3, seed=seed)
        study = read_study(tmp_path / name)
        pictures = read_key(tmp_path / name, study).pictures
        return [[[(pictures[name].image, pictures[name].model) for name in trial] for trial in rater.trials] for rater in study.raters]

    arguments = write_pictures(tmp_path / "in", MODELS)
    assert plan("a", 1) == plan("b", 1) != plan("c", 2)
    assert read_study(tmp_path / "a").id != read_study(tmp_path / "b").id
    path = tmp_path / "a" / "key.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 3'))
    with pytest.raises(SrganError, match="was changed after the study was created"):
        read_key(tmp_path / "a", read_study(tmp_path / "a"))


def test_pictures_are_lossless_centre_crops_and_checks_are_obvious(folder):
    key = read_key(folder, read_study(folder))
    for name, picture in key.pictures.items():
        with Image.open(folder / "pictures" / f"{name}.webp") as image:
            shown = np.asarray(image.convert("RGB")).astype(int)
        with Image.open(folder.parent / "in" / (picture.model or MODELS[0]) / f"{picture.image}.png") as image:
            source = np.asarray(image).astype(int)[:, 8:88]
        assert shown.shape == (64, 80, 3)
        assert (shown == source).all() == (picture.model is not None)
        assert picture.model or np.abs(shown - source).mean() > 10


def test_models_run_on_inputs(tmp_path, model):
    write_pictures(tmp_path / "in", ["lr"], images=3, size=(40, 24))
    (tmp_path / "hr").mkdir()
    for path in (tmp_path / "in" / "lr").iterdir():
        with Image.open(path) as image:
            image.resize((80, 48)).save(tmp_path / "hr" / f"{path.stem}.jpg")  # the suffix may differ
    done = run("srgan", "study", "create", "s", f"net={model}", "hr", "--inputs", "in/lr", "--checks", "1", cwd=tmp_path)
    codes = re.findall(r"^  (\w{4}-\w{4}-\w{4})$", done.stdout, flags=re.M)
    study = read_study(tmp_path / "s")
    assert [study.rater_of(code.lower().replace("-", " ")) for code in codes] == [1, 2, 3]
    assert "3 images and 2 models have 3 different comparisons" in done.stderr
    models = read_key(tmp_path / "s", study).models
    assert models["net"].source == model.name
    assert len(models["net"].sha256) == 64
    assert models["hr"].sha256 is None


def test_codes_cannot_be_taken_for_each_other():
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    assert all(re.fullmatch(r"([2-9A-HJKMNP-TV-Z]{4}-?){3}", code) for code in codes)
    assert code_digest("one", "AAAA-BBBB-CCCC") != code_digest("two", "AAAA-BBBB-CCCC")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/swift"], "a study compares at least two models"),
        (["in/swift", "swift=in/steady"], "two sources have the label 'swift'"),
        (["in/swift", "in/missing"], "in/missing: no folder, model file"),
        (["in/swift", "a b=in/steady"], "'a b' cannot be a label"),
        (["in/swift", "missing.onnx", "--inputs", "in/swift"], "missing.onnx: no such file"),
        (["in/swift", "in/fewer"], r"fewer (in/fewer): has no picture of image-0, image-1, image-2, ..."),
        (["in/swift", "in/larger"], "the pictures differ in size"),
        (["in/swift", "in/broken"], "image-3.png: "),
        (["in/swift", "in/twice"], "have one name"),
        (["in/swift", "models:/x@y"], "manifest.json"),  # no prepared images
        (["in/swift", "originals", "--inputs", "in/swift"], "name the folder of the originals instead"),
        (["in/swift", "in/steady", "--crop", "1"], "--crop"),
    ],
)
def test_what_cannot_be_compared_is_told_and_leaves_nothing(arguments, message, tmp_path):
    write_pictures(tmp_path / "in", [*MODELS, "broken", "twice"])
    write_pictures(tmp_path / "in", ["larger"], size=(104, 64))
    (tmp_path / "in" / "fewer").mkdir()
    for name in ("image-4.png", "image-5.png"):
        shutil.copy(tmp_path / "in" / "swift" / name, tmp_path / "in" / "fewer")
    (tmp_path / "in" / "broken" / "image-3.png").write_bytes(b"\x89PNG")
    shutil.copy(tmp_path / "in" / "twice" / "image-3.png", tmp_path / "in" / "twice" / "image-3.jpg")
    done = run("srgan", "study", "create", "s", *arguments, cwd=tmp_path, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_study_is_never_overwritten(folder, tmp_path):
    with pytest.raises(SrganError, match="exists already"):
        create(folder, ["a", "b"])


def test_a_stopped_creation_leaves_nothing(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(creation, "_write_files", stopped)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "s", write_pictures(tmp_path / "in", MODELS))
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("file", ["study.json", "key.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}', b"\xff\xfe", None])
def test_a_damaged_file_is_named(file, content, folder, tmp_path):
    for name in ("study.json", "key.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / file).write_bytes(content) if content is not None else (tmp_path / file).unlink()
    with pytest.raises(SrganError, match=file):
        read_key(tmp_path, read_study(tmp_path))


def test_the_files_are_json_with_a_format(folder):
    assert json.loads((folder / "study.json").read_text())["format"] == json.loads((folder / "key.json").read_text())["format"] == 1
