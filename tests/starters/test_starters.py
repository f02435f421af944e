"""Starters: their files, the model that a folder uses, and `srgan models`."""

import json

import pytest
from PIL import Image

from srgan.commands.main import main
from srgan.config import schema
from srgan.config.project import Project
from srgan.export import starter
from srgan.models.checkpoints import load_generator
from srgan.starters import catalogue, default
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.starters import write_starter


@pytest.fixture
def starters(project, tmp_path, monkeypatch):
    """A folder with the default starter and another one."""
    folder = tmp_path / "starters"
    for name in (catalogue.DEFAULT, "tiny"):
        write_starter(project, folder, name)
    monkeypatch.setenv("SRGAN_STARTERS", str(folder))
    return folder


def test_the_starters_that_ship_are_intact_small_and_free(monkeypatch):
    monkeypatch.delenv("SRGAN_STARTERS", raising=False)
    found = [catalogue.find(name) for name in catalogue.names()]
    assert {catalogue.DEFAULT, catalogue.RESTORATION} <= {*catalogue.names()}
    assert catalogue.find(catalogue.RESTORATION).card.scale == 1
    assert sum(each.weights.stat().st_size for each in found) <= catalogue.MAX_BYTES_TOGETHER
    for each in found:
        assert each.weights.stat().st_size == each.card.bytes <= catalogue.MAX_BYTES
        network, metadata = load_generator(each.weights)
        assert network.scale == each.card.scale
        assert each.card.licence == metadata["sr.license"]
        assert each.card.licence.startswith("CC0")
        assert {entry.set for entry in each.card.data} == {"cc0"}
        assert each.card.profile == f"starter-{each.name}"


def test_the_card_has_the_scores_of_the_report_and_the_validations(project, starters):
    card = json.loads((starters / "tiny.json").read_text())
    assert card["scores"] == json.loads((project / "reports/metrics.json").read_text())
    assert card["steps"] == {"pretrain": 6, "train": schema.load(project / "params.yaml").train.steps}
    assert all(abs(change) <= starter.MAX_CHANGE for change in card["float16"].values())
    assert len(card["validation"]["train"]["val_psnr_y"]) == len(card["validation"]["train"]["step"]) > 0
    listed = run("srgan", "models", "list", cwd=starters, SRGAN_STARTERS=str(starters)).stdout
    assert "x4-photo *" in listed
    assert "srgan upscale uses the starter x4-photo in this folder" in listed
    shown = run("srgan", "models", "show", "tiny", cwd=starters, SRGAN_STARTERS=str(starters)).stdout
    assert "tiny: A test." in shown
    assert "licence   CC0-1.0" in shown


def test_an_image_is_upscaled_without_a_training_and_without_a_name_for_the_result(starters, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (20, 12), "teal").save(folder / "photo.jpg")
    command = ["srgan", "upscale", "photo.jpg"]
    done = run(*command, cwd=folder, SRGAN_STARTERS=str(starters))
    assert "by the starter x4-photo" in done.stderr
    with Image.open(folder / "photo_x4.png") as result:
        assert result.size == (80, 48)
    again = run(*command, cwd=folder, check=False, SRGAN_STARTERS=str(starters))
    assert again.returncode
    assert "photo_x4.png: exists already. Replace it with --overwrite" in again.stderr
    run(*command, "--overwrite", "--model", "tiny", cwd=folder, SRGAN_STARTERS=str(starters))
    two = run(*command, "photo_x4.png", cwd=folder, check=False, SRGAN_STARTERS=str(starters))
    assert "name a folder or file for the result with -o" in two.stderr


def test_enhance_has_a_default_of_its_own(starters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 12), "teal").save("photo.png")
    with pytest.raises(SystemExit):
        main(["enhance", "photo.png", "-o", "restored.png"])
    assert "this installation has no starter restore" in capsys.readouterr().err
    monkeypatch.setattr(catalogue, "RESTORATION", "tiny")
    main(["enhance", "photo.png", "-o", "restored.png"])
    assert (tmp_path / "restored.png").is_file()


def test_a_project_uses_its_own_model_or_the_chosen_starter(starters, project, tmp_path, copy_of_project):
    own = Project(copy_of_project)
    assert default.default_model(own) == own.exported_model()
    assert "srgan upscale uses the starter tiny" in default.use(own, "tiny")
    assert default.default_model(own) == starters / "tiny.safetensors"
    (starters / "tiny.json").unlink()
    with pytest.raises(SrganError, match="'tiny' is no starter"):
        default.default_model(own)
    default.use(own, default.OWN)
    assert default.default_model(own) == own.exported_model()
    with pytest.raises(SrganError, match=r"no starter 'x4-phoot'; did you mean x4-photo\?"):
        default.use(own, "x4-phoot")
    (starters / "x4-photo.json").unlink()
    with pytest.raises(SrganError, match="no exported model, and this installation has no starter x4-photo"):
        default.default_model(Project(tmp_path))


def test_damaged_weights_are_refused(starters):
    weights = starters / "tiny.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(SrganError, match=r"damaged or replaced, its SHA-256 is not the one in tiny\.json"):
        catalogue.find("tiny")
    (starters / "tiny.json").write_text("{}")
    with pytest.raises(SrganError, match=r"tiny\.json: not the card of a starter"):
        catalogue.find("tiny")


def test_a_starter_needs_a_name_and_a_license(project, tmp_path):
    params = schema.load(project / "params.yaml")
    for name in ("Tiny", "own", "scratch", "a/b"):
        with pytest.raises(SrganError, match="not a name for a starter"):
            starter.make(Project(project), params, name, tmp_path, "A test.")
    nameless = params.model_copy(update={"export": params.export.model_copy(update={"license": "unspecified"})})
    with pytest.raises(SrganError, match=r"export\.license in params\.yaml is unspecified"):
        starter.make(Project(project), nameless, "tiny", tmp_path, "A test.")
