"""Whole fine-tunings of a tiny network on tiny images."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from srgan.commands.main import main
from srgan.config.project import Project
from srgan.finetuning import options, result, run
from srgan.finetuning.options import Request
from srgan.finetuning.run import finetune
from srgan.metrics.registry import select_metrics
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.models.weights_file import read_metadata
from srgan.tracking import optional, store
from srgan.training import model_selection
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json
from tests.helpers.finetuning import photos

TINY = options.TRAIN | {
    "batch_size": 2,
    "patch_size": 32,
    "learning_rate": 3e-3,
    "anchor": 0.1,
    "ema": 0.0,
    "lpips": False,
    "losses": [{"name": "l1"}, {"name": "relativistic", "weight": 1e-4}],
    "discriminator": {"name": "patch", "features": 4, "depth": 2},
    "psnr_guard": 9.0,
}
STEPS = 6


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A project with seven images, two test images and random weights, whose trainings have few steps and whose metric is PSNR."""
    torch.manual_seed(0)
    save_generator(tmp_path / "start.safetensors", build_generator("compact", scale=2, features=8, depth=1), {})
    photos(tmp_path / "data", 7)
    photos(tmp_path / "test", 3, first=20)
    monkeypatch.setattr(options, "TRAIN", TINY)
    monkeypatch.setattr(options, "EVERY", 2)
    monkeypatch.setattr(result, "select_metrics", lambda lpips, niqe: select_metrics([], niqe=niqe))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def untracked(monkeypatch):
    """An installation without MLflow."""

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(optional, "load", missing)


def worsen(monkeypatch):
    """Let each validation after the start look worse."""
    score = model_selection.ModelSelection.score
    monkeypatch.setattr(
        model_selection.ModelSelection,
        "score",
        lambda self, row, start: (0.0, -row["step"]) if row.get("step") else score(self, row, start),
    )


def request(**changes):
    return Request("start.safetensors", "data", **{"name": "mine", "steps": STEPS} | changes)


@pytest.mark.slow  # an export
def test_a_gain_on_other_images_is_kept_as_weights_onnx_and_card(tiny, untracked):
    found = finetune(tiny, request(test="test"))
    assert found.verdict.kept, found.verdict.reason
    assert found.model == tiny.root / "finetuned/mine/models/2x-mine-compact-fp32.onnx"
    assert found.model.is_file()
    assert "the generator starts from start.safetensors" in found.project.model_card.read_text()
    assert "## Gain of the fine-tuning\n\nPSNR-Y +" in found.project.model_card.read_text()
    assert "start.safetensors" in read_metadata(found.project.generator, made_by="train")["sr.started_from"]
    scored = found.project.scores.read_text()
    assert scored.count(",gan,") == scored.count(",pretrained,") == 3
    before = found.project.generator.read_bytes()
    assert finetune(tiny, request(test="test")).verdict == found.verdict  # nothing is trained again
    assert found.project.generator.read_bytes() == before


def test_a_training_that_gets_worse_leaves_the_start_and_exits_with_3(tiny, untracked, monkeypatch, capsys):
    worsen(monkeypatch)
    with pytest.raises(SystemExit) as caught:
        main(["finetune", "start.safetensors", "--data", "data", "--test", "test", "--name", "mine", "--steps", str(STEPS)])
    assert caught.value.code == 3
    shown = capsys.readouterr().out
    assert "not kept, start.safetensors stays the better model: psnr_y: better by 0.0000" in shown
    own = Project(tiny.root / "finetuned/mine")
    assert not own.export_record.exists()
    trained, start = load_file(own.generator), load_file(tiny.root / "start.safetensors")
    assert all(torch.equal(value, start[key]) for key, value in trained.items())
    assert read_json(own.root / "result.json", made_by="finetune")["kept"] is False


def test_a_folder_belongs_to_one_fine_tuning(tiny, untracked, monkeypatch):
    monkeypatch.setattr(run.train, "run", lambda *arguments, **more: (_ for _ in ()).throw(SrganError("stopped")))
    with pytest.raises(SrganError, match="stopped"):
        finetune(tiny, request(test="test"))
    with pytest.raises(SrganError, match=r"finetuned/mine: has another fine-tuning \(different: steps\). Choose another --name"):
        finetune(tiny, request(test="test", steps=STEPS + 2))
    photos(tiny.root / "data", 1, first=9)
    with pytest.raises(SrganError, match=r"different: images"):
        finetune(tiny, request(test="test"))


@pytest.mark.slow
def test_cross_validation_scores_each_image_once_and_registers_the_model(tiny, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    found = finetune(tiny, request())
    assert found.verdict.kept, found.verdict.reason
    assert found.verdict.images == 7
    assert "on 7 images (cross-validation in 4 folds)" in found.verdict.gain
    assert found.version == "mine-x2 version 1 with the alias challenger"
    for fold in (tiny.root / "finetuned/mine/folds").iterdir():
        images = read_json(fold / "data/prepared/manifest.json", made_by="prepare")["images"]
        assert {image["part"] for image in images} == {"train", "validation", "test"}
        assert len({image["source"] for image in images}) == len(images) == 7
    client = store.connect(tiny)
    version = client.get_model_version_by_alias("mine-x2", "challenger")
    assert version.tags["srgan.parent"] == "start.safetensors"
    assert version.tags["srgan.gain"] == found.verdict.gain
    assert client.get_run(version.run_id).data.tags["srgan.parent"] == "start.safetensors"
    again = finetune(tiny, request())
    assert again.version == found.version
    child = finetune(tiny, Request("models:/mine-x2@challenger", "data", "test", name="child", steps=STEPS))
    parent = store.connect(tiny).get_run(_run_of(tiny, child.project)).data.tags
    assert parent["srgan.parent"] == "models:/mine-x2/1"
    assert parent["srgan.parent_run"] == version.run_id


def _run_of(project, own):
    key = read_metadata(own.generator, made_by="train")["sr.train_run"]
    client = store.connect(project)
    experiment = client.get_experiment_by_name(store.experiment_name())
    return client.search_runs([experiment.experiment_id], f"tags.`srgan.key` = '{key}'")[0].info.run_id


@pytest.mark.slow
def test_a_killed_fine_tuning_ends_like_an_undisturbed_one(tiny, untracked, monkeypatch):
    expected = finetune(tiny, request(name="straight")).project.generator
    step = run.train.run
    calls = []

    def dying(project, params, **more):
        calls.append(project)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        return step(project, params, **more)

    monkeypatch.setattr(run.train, "run", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            finetune(tiny, request(name="straight2"))
    found = finetune(tiny, request(name="straight2")).project.generator
    assert len(calls) == 7  # five trainings, two of which were interrupted
    ours, theirs = load_file(found), load_file(expected)
    assert all(np.array_equal(value, theirs[key]) for key, value in ours.items())
