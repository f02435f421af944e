"""`srgan data estimate`, as people type it."""

import re

import pytest
from PIL import Image

from srgan.commands.main import main
from srgan.config import recipe as config
from srgan.config.recipe_file import load_recipe
from srgan.data.estimate import measure
from srgan.degradations.recipe import Recipe
from tests.helpers.degradations import photograph

DAMAGED_STEPS = [
    {"name": "downscale"},
    {"name": "blur", "kinds": {"isotropic": 1}, "size": (21, 21), "sigma": (2, 2)},
    {"name": "noise", "kinds": {"gaussian": 1}, "sigma": (10, 10), "grey": 1},
    {"name": "jpeg", "quality": (40, 40), "subsampling": {"4:2:0": 1}},
]
PHOTOGRAPHS = ("chelsea", "coffee")


def estimate(*arguments):
    try:
        main(["data", "estimate", *map(str, arguments)])
    except SystemExit as error:
        return error.code
    return 0


def degraded(name, steps=DAMAGED_STEPS):
    image = photograph(name)[:300, :448]
    return Image.fromarray(Recipe(config.steps_from_json(steps)).degrade(image, 1, (3,))[0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/sub").mkdir(parents=True)
    for name in PHOTOGRAPHS:
        degraded(name).save(tmp_path / f"photos/sub/{name}.png")
    return tmp_path


def test_degradations_of_a_known_recipe_are_found_and_the_file_is_a_recipe(folder, capsys):
    assert estimate("photos", "-o", "steps.yaml") == 0
    assert (folder / "steps.yaml").read_text() == capsys.readouterr().out
    downscale, blur, noise, jpeg = load_recipe("steps.yaml")
    assert (downscale.name, blur.probability, noise.probability, jpeg.probability) == ("downscale", 1, 1, 1)
    assert jpeg.quality == (40, 40)
    colored, grey = noise.steps  # the compression has removed the noise of the chroma
    assert (colored.grey, grey.grey) == (0, 1)
    assert 9 <= grey.sigma[0] <= grey.sigma[1] <= 11.5
    assert colored.sigma[0] == pytest.approx(grey.sigma[0] / 0.668, abs=0.1)
    assert 1.4 <= blur.sigma[0] <= blur.sigma[1] <= 2.4


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_noise_is_equal_or_different_in_the_colors_as_it_is_in_the_photographs(folder, grey):
    for name in PHOTOGRAPHS:
        degraded(name, [DAMAGED_STEPS[0], DAMAGED_STEPS[2] | {"grey": grey}]).save(folder / f"photos/sub/{name}.png")
    assert estimate("photos", "-o", "steps.yaml") == 0
    noise = load_recipe("steps.yaml")[-1]
    assert (noise.probability, noise.grey) == (1, grey)
    assert noise.sigma[0] == pytest.approx(10, abs=1)
    assert noise.sigma[1] == pytest.approx(10, abs=1.5)


def test_texture_is_no_noise_where_the_compression_would_hide_noise(folder):
    for name in PHOTOGRAPHS:
        degraded(name, [DAMAGED_STEPS[0], DAMAGED_STEPS[3]]).save(folder / f"photos/sub/{name}.png")
    assert estimate("photos", "-o", "steps.yaml") == 0
    assert [step.name for step in load_recipe("steps.yaml") if step.name in ("noise", "one_of", "jpeg")] == ["jpeg"]


def test_a_jpeg_file_states_its_quality_and_subsampling(folder):
    degraded("chelsea", DAMAGED_STEPS[:3]).save("a.jpg", quality=40, subsampling="4:2:2")
    found = measure(folder / "a.jpg")
    assert (found.quality, found.subsampling) == (40, "4:2:2")
    assert found.noise == pytest.approx(10, abs=1)


def test_a_cropped_jpeg_is_found_and_a_clean_photograph_has_no_compression(folder):
    degraded("coffee").crop((3, 5, 400, 290)).save("cropped.png")
    Image.fromarray(photograph("coffee")).resize((300, 200), Image.Resampling.BICUBIC).save("clean.png")
    assert measure(folder / "cropped.png").quality == 40
    clean = measure(folder / "clean.png")
    assert clean.quality is None
    assert clean.blur < 0.8


def test_a_flat_picture_has_no_findings(folder):
    Image.new("RGB", (64, 64), (90, 90, 90)).save("photos/sub/flat.png")
    found = measure(folder / "photos/sub/flat.png")
    assert (found.quality, found.blur) == (None, None)
    assert found.noise < 1


def test_damaged_files_are_named_and_counted_and_the_others_measured(folder, capsys):
    (folder / "photos/bad.png").write_bytes((folder / "photos/sub/coffee.png").read_bytes()[:5000])
    Image.new("RGB", (9, 40)).save("photos/tiny.png")
    assert estimate("photos") == 0
    output = capsys.readouterr().out
    assert re.search(r"^# 2 files could not be measured:\n#   photos/bad.png: .*\n#   photos/tiny.png: has 9x40 pixels", output, re.M)
    assert "# 2 images of photos\n" in output


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_images_is_an_error(folder, capsys, name):
    (folder / "empty").mkdir()
    assert estimate(name) == 1
    assert f"{name}: no " in capsys.readouterr().err
