"""A colorization from the photographs to a coloured photograph: the recipe grayscale, a conditional discriminator, export and use."""

import json

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from srgan.commands.main import main
from srgan.config.delivery import Promote
from srgan.data.manifest import read_manifest
from srgan.evaluation.evaluate import read_table
from srgan.evaluation.model_card import model_card
from srgan.evaluation.statistics import summary_sentences
from srgan.images.read import read_image
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import load_generator
from srgan.tasks import task_of_manifest
from srgan.tracking.promotion import check_rules
from tests.helpers.project import exported_entries, trained_project
from tests.images.test_hints import strokes

STAGES = ("download", "prepare", "pretrain", "train", "export", "evaluate")
LUMA = np.array([0.299, 0.587, 0.114])
LOSSES = [{"name": "l1"}, {"name": "oklab_chroma", "weight": 5.0}]


@pytest.fixture(scope="module")
def colorized(tmp_path_factory):
    """A project that colourizes, whose stages have run, and its folder."""
    folder = tmp_path_factory.mktemp("colour")
    photographs = {"train": ("astronaut", "brick", "camera", "coins", "grass", "gravel", "moon", "rocket"), "held": ("chelsea", "coffee")}
    for part, names in photographs.items():
        (folder / part).mkdir()
        for name in names:
            Image.fromarray(getattr(skimage.data, name)()[60:200, 100:220]).save(folder / part / f"{name}.png")
    changes = {
        "data.train": [str(folder / "train")],
        "data.test": [str(folder / "held")],
        "prepare.scale": 1,
        "prepare.recipe": "grayscale-hints",
        "pretrain.losses": LOSSES,
        "train.losses": [*LOSSES, {"name": "feature_matching"}, {"name": "relativistic", "weight": 0.02}],
        "train.discriminator": {"name": "patch", "features": 4, "condition": True},
        "export.fp16": True,
    }
    return trained_project(folder / "project", changes, *STAGES)


def test_both_stages_change_colours_and_keep_the_luma(colorized):
    pretrain = pd.read_csv(colorized / "reports" / "pretrain_validation.csv")
    assert pretrain["val_ciede2000"].nunique() > 1
    assert pretrain["val_psnr_y"].min() > 50  # rounding alone
    train = pd.read_csv(colorized / "reports" / "train.csv")
    assert (train[["loss_oklab_chroma", "loss_discriminator", "gradient_discriminator"]] > 0).all().all()
    generator, metadata = load_generator(colorized / "models" / "generator.safetensors")
    assert generator.keep_luma
    assert {key: metadata[key] for key in ("sr.color_out", "sr.keep_luma", "sr.hints")} == {
        "sr.color_out": "RGB", "sr.keep_luma": "1", "sr.hints": "1",
    }  # fmt: skip


def test_colours_are_scored_and_the_file_in_onnx_scores_the_same(colorized):
    scores = json.loads((colorized / "reports" / "metrics.json").read_text())["held"]
    assert scores["onnx-fp32"]["ciede2000"] == pytest.approx(scores["gan"]["ciede2000"], abs=0.01)
    assert scores["gan"]["psnr_y"] > 50
    assert scores["input"]["colorfulness"] < scores["gan"]["colorfulness"]  # the grey image, with its hints


def test_the_file_states_what_it_does(colorized):
    metadata = exported_entries(colorized)
    assert (metadata["sr.scale"], metadata["sr.color_out"], metadata["sr.keep_luma"], metadata["sr.hints"]) == ("1", "RGB", "1", "1")


def test_a_grey_photograph_becomes_a_colour_photograph_that_follows_hints(colorized, tmp_path, monkeypatch):
    monkeypatch.chdir(colorized)
    grey = Image.fromarray(skimage.data.chelsea()[:200, :300]).convert("L")
    grey.save(tmp_path / "photo.png")
    hints = strokes(tmp_path / "strokes.png", size=(300, 200))
    main(["enhance", str(tmp_path / "photo.png"), "-o", str(tmp_path / "plain.png")])
    main(["enhance", str(tmp_path / "photo.png"), "-o", str(tmp_path / "hinted.png"), "--hints", str(hints)])
    plain, hinted = (read_image(tmp_path / name) for name in ("plain.png", "hinted.png"))
    for result in (plain, hinted):
        assert result.shape == (200, 300, 3)
        assert np.abs(result @ LUMA - np.asarray(grey)).max() < 0.51
    assert np.abs(plain.astype(int) - hinted)[2:6, 3:12].mean() > 2
    assert np.ptp(hinted[2:6, 3:12], axis=2).mean() > np.ptp(plain[2:6, 3:12], axis=2).mean()


def test_results_are_judged_by_their_colours(colorized):
    reports = colorized / "reports"
    statistics, exported = (json.loads((reports / name).read_text()) for name in ("statistics.json", "export.json"))
    manifest = read_manifest(colorized / "data" / "prepared")
    (sentence,) = summary_sentences(statistics, "gan", task_of_manifest(manifest))
    assert sentence.startswith("gan against input on held: CIEDE2000 ")
    assert exported["reduced"]["fp16"].keys() >= {"psnr_rgb", "psnr_rgb_fp32", "psnr_rgb_change"}
    card = model_card(exported_entries(colorized), manifest, statistics, exported)
    for words in ("dB PSNR-RGB against float32", "- **It invents colors.**", "It keeps noise, blur and scratches.", "by CIEDE2000: "):
        assert words in card
    assert "invents detail" not in card
    table = read_table(reports / "metrics.csv").replace({"model": {"gan": "challenger"}})
    checks = {check.name: check for check in check_rules(table, {}, {}, Promote(), task_of_manifest(manifest))}
    assert checks["psnr_rgb"].found.startswith("PSNR-RGB 1")
    assert "psnr_y" not in checks


def test_the_luma_is_kept_in_float16(colorized):
    (path,) = (colorized / "models" / "reduced").glob("*-fp16.onnx")
    grey = skimage.data.camera()[:100, :120]
    assert np.abs(Upscaler(path).upscale(grey) @ LUMA - grey).max() < 0.5


def test_hints_are_for_one_image(colorized, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(colorized)
    with pytest.raises(SystemExit):
        main(["upscale", str(colorized / "data"), "-o", str(tmp_path / "many"), "--hints", "x.png"])
    assert "--hints: fits one image" in capsys.readouterr().err
