"""A restoration at scale 1 from the photographs to a restored photograph: a recipe, both stages, export, scores, report and use."""

import json

import numpy as np
import pytest
import skimage.data
from PIL import Image

from srgan.commands.main import main
from srgan.images.read import read_image
from srgan.inference.upscaler import Upscaler
from tests.helpers.project import exported_entries, trained_project

pytestmark = pytest.mark.slow  # test_colorization.py runs the same stages at scale 1

STAGES = ("download", "prepare", "pretrain", "train", "export", "evaluate", "report", "register")


@pytest.fixture(scope="module")
def restoring(tmp_path_factory):
    """A project that removes noise, whose stages have run, and its folder."""
    changes = {
        "prepare.scale": 1,
        "prepare.recipe": "gaussian-25",
        "model": {"name": "compact", "features": 8, "depth": 1, "unshuffle": 2},
        "export.fp16": True,
        "export.int8": True,
        "export.int8_max_drop_db": 100.0,
    }
    return trained_project(tmp_path_factory.mktemp("restore") / "project", changes, *STAGES)


def test_scores_compare_with_the_input(restoring):
    scores = json.loads((restoring / "reports" / "metrics.json").read_text())["sample"]
    assert set(scores) >= {"input", "pretrained", "gan", "onnx-fp32", "onnx-fp16", "onnx-int8"}
    assert "bicubic" not in scores
    assert scores["input"]["psnr_rgb"] == pytest.approx(20.2, abs=0.6)  # sigma 25, less where it is clipped
    assert scores["pretrained"]["psnr_y"] == pytest.approx(scores["input"]["psnr_y"], abs=0.5)  # a few steps from the input
    assert scores["onnx-fp32"]["psnr_y"] == pytest.approx(scores["gan"]["psnr_y"], abs=0.01)


def test_report_and_card_name_the_task(restoring):
    report = (restoring / "reports" / "report.html").read_text()
    assert "compact-x1: image restoration" in report
    assert "gan against input on sample: PSNR-Y" in report
    assert "pixels restored by the exported file" in report
    assert "<tr><td>inputs</td>" in report
    assert 'alt="sample/chelsea, input"' in (restoring / "reports" / "data.html").read_text()
    card = (restoring / "reports" / "MODEL_CARD.md").read_text()
    assert "A network that restores images: `compact`" in card
    assert "| sample | input | pretrained | gan |" in card
    assert "the recipe gaussian-25" in card
    assert "upscales" not in card


def test_the_file_states_task_recipe_and_grid(restoring):
    metadata = exported_entries(restoring)
    assert {key: metadata[key] for key in ("sr.scale", "sr.task", "sr.recipe", "sr.multiple_of")} == {
        "sr.scale": "1", "sr.task": "restoration", "sr.recipe": "gaussian-25", "sr.multiple_of": "2",
    }  # fmt: skip


def test_enhance_restores_a_photograph_and_tiles_equal_the_whole(restoring, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(restoring)
    photo = tmp_path / "photo.png"
    Image.fromarray(skimage.data.chelsea()[:153, :201]).save(photo)
    main(["enhance", str(photo), "-o", str(tmp_path / "whole.png")])
    main(["enhance", str(photo), "-o", str(tmp_path / "tiles.png"), "--tile", "65"])
    whole, tiles = (read_image(tmp_path / name).astype(int) for name in ("whole.png", "tiles.png"))
    assert whole.shape == (153, 201, 3)
    assert np.abs(whole - tiles).max() <= 1
    with caplog.at_level("INFO"):
        main(["enhance", str(photo), "-o", str(tmp_path / "many")])
    assert "1 of 1 images restored" in caplog.text
    assert read_image(tmp_path / "many" / "photo.png").shape == (153, 201, 3)


def test_an_api_of_python_restores(restoring):
    (path,) = (restoring / "models").glob("1x-*.onnx")
    image = np.random.default_rng(0).integers(0, 65536, (41, 30), dtype=np.uint16)
    restored = Upscaler(path).upscale(image)
    assert (restored.shape, restored.dtype) == ((41, 30), np.uint16)
