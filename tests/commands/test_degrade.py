"""`srgan degrade`, as people type it."""

import json

import numpy as np
import pytest
from PIL import Image

from srgan.commands.main import main
from srgan.images.read import read_image
from tests.helpers.degradations import photograph

STEPS = "- {name: downscale}\n- {name: noise, sigma: [5, 10]}\n- {name: webp, probability: 0.5, quality: [20, 30]}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = Image.fromarray(photograph("chelsea")[20:151, 100:277])
    for name in ("in/a.png", "in/b.jpg", "in/sub/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(name)
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return tmp_path


def degrade(*arguments):
    try:
        main(["degrade", *map(str, arguments)])
    except SystemExit as error:
        return error.code
    return 0


def images(folder):
    return {str(path.relative_to(folder)): read_image(path) for path in folder.rglob("*.png")}


def test_pairs_have_the_sizes_names_and_list_of_their_originals_and_repeat_with_the_seed(folder):
    (folder / "steps.yaml").write_text(STEPS)
    for output, seed in (("one", 5), ("again", 5), ("other", 6)):
        assert degrade("in", "-o", output, "--recipe", "steps.yaml", "--seed", seed, "--scale", 2) == 0
    one, again, other = (images(folder / name) for name in ("one", "again", "other"))
    assert sorted(one) == [f"{kind}/{name}.png" for kind in ("HR", "LR") for name in ("a", "b", "sub_a")]
    assert np.array_equal(one["HR/a.png"], read_image("in/a.png")[:130, :176])
    assert one["LR/a.png"].shape == (65, 88, 3)
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert all(np.array_equal(one[name], other[name]) == name.startswith("HR") for name in one)
    listed = json.loads((folder / "one" / "pairs.json").read_text())
    assert (listed["scale"], listed["seed"], len(listed["pairs"])) == (2, 5, 3)
    assert [pair["source"] for pair in listed["pairs"]] == ["in/a.png", "in/b.jpg", "in/sub/a.png"]
    assert [step["name"] for step in listed["pairs"][0]["drawn"]][:2] == ["downscale", "noise"]


def test_an_image_gets_the_same_input_alone(folder):
    degrade("in", "-o", "all", "--recipe", "realesrgan")
    degrade("in/b.jpg", "-o", "one", "--recipe", "realesrgan")
    assert np.array_equal(read_image("all/LR/b.png"), read_image("one/LR/b.png"))


def test_damaged_and_tiny_files_are_named_and_the_others_written(folder, capsys):
    (folder / "in" / "cut.jpg").write_bytes((folder / "in" / "b.jpg").read_bytes()[:700])
    Image.new("RGB", (9, 40)).save("in/tiny.png")
    assert degrade("in", "-o", "out", "--recipe", "jpeg-50") == 1
    message = capsys.readouterr().err
    assert "2 of 5 images failed:" in message
    assert "in/cut.jpg: image file is truncated" in message
    assert "in/tiny.png: has 9x40 pixels, and scale 4 needs 16 a side" in message
    assert len(images(folder / "out")) == 6
    assert len(json.loads((folder / "out" / "pairs.json").read_text())["pairs"]) == 3


@pytest.mark.parametrize(
    ("recipe", "text", "message"),
    [
        ("jpg-50", None, "jpg-50: neither a recipe nor a .yaml file of steps; did you mean jpeg-N?"),
        ("none.yaml", None, "none.yaml: no such file. Write a list of steps"),
        ("steps.yaml", "- name: downscale\n- name: jpeg\n  quality: [50, 500]\n", "steps.yaml:3: recipe[1].quality: must be a range"),
        ("steps.yaml", "- {name: downscale}\n- {name: jpg}\n", "steps.yaml:2: recipe[1].name: 'jpg' is not one of"),
        ("steps.yaml", "- {name: downscale\n", "steps.yaml:2: not valid YAML"),
        ("steps.yaml", "name: jpeg\n", "steps.yaml: must hold a list"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(folder, capsys, recipe, text, message):
    if text:
        (folder / recipe).write_text(text)
    assert degrade("in", "-o", "out", "--recipe", recipe) == 1
    assert f"srgan degrade: error: {message}" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_no_original_is_replaced(folder, capsys):
    degrade("in", "-o", "out", "--recipe", "bicubic")
    assert degrade("out/HR", "-o", "out", "--recipe", "bicubic") == 1
    assert "a result would replace this image" in capsys.readouterr().err
