import json

import numpy as np
import pytest
import torch

from srgan.export import openmodeldb
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.utils.files import sha256
from tests.helpers.commands import run
from tests.helpers.project import write_params


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "boats.safetensors"
    save_generator(
        path, build_generator("compact", scale=2, features=4, depth=1).eval(), {"sr.objective": "gan", "sr.license": "unspecified"}
    )
    return path


def test_a_folder_has_files_card_examples_and_a_valid_entry(tmp_path, weights):
    write_png(tmp_path / "sea.png", np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8))
    facts = ["--author", "jane-doe", "--author", "max", "--license", "CC-BY-4.0", "--url", "https://example.com/r/", "--tag", "photo"]
    facts += ["--dataset", "own boats", "--pretrained", "2x-sea", "--description", "Boats at **sea**."]
    run("srgan", "publish", "-m", weights, "-o", "out", *facts, "--image", "sea.png", "--to", "safetensors,pth", cwd=tmp_path)
    folder = tmp_path / "out"
    names = {"2x-boats.json", "README.md", "sea-input.png", "sea-result.png", "2x-boats-compact.safetensors", "2x-boats-compact.pth"}
    assert {path.name for path in folder.iterdir()} == names
    found = json.loads((folder / "2x-boats.json").read_text())
    assert openmodeldb.problems("2x-boats", found) == []
    assert (found["author"], found["tags"], found["pretrainedModelG"]) == (["jane-doe", "max"], ["photo"], "2x-sea")
    for resource, suffix in zip(found["resources"], ("safetensors", "pth"), strict=True):
        path = folder / f"2x-boats-compact.{suffix}"
        assert (resource["sha256"], resource["size"]) == (sha256(path), path.stat().st_size)
        assert resource["urls"] == [f"https://example.com/r/{path.name}"]
    assert read_rgb(folder / "sea-result.png").shape == (24, 40, 3)
    card = (folder / "README.md").read_text()
    for text in (
        "# 2x-boats",
        "Boats at **sea**.",
        "License: CC-BY-4.0",
        "own boats",
        found["resources"][0]["sha256"],
        "](sea-result.png)",
    ):
        assert text in card


def test_missing_facts_and_broken_rules_are_named_before_files_are_written(tmp_path, weights):
    complete = ["--author", "jane-doe", "--license", "MIT", "--url", "https://example.com/r"]
    for arguments, messages in (
        ([], ["a published model needs --author ID, --license SPDX, --url ADDRESS"]),
        ([*complete, "--author", "Max M"], ["author: ['jane-doe', 'Max M'] is not an id of lower-case letters"]),
        (
            [*complete, "--license", "free for all", "--tag", "Photo"],
            ["license: 'free for all' is not an SPDX id", "tags: ['Photo'] is not"],
        ),
    ):
        done = run("srgan", "publish", "-m", weights, "-o", "out", *arguments, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert all(message in done.stderr for message in messages)
    assert not (tmp_path / "out").exists()


def test_the_pipelines_model_brings_its_card_and_its_training(tmp_path):
    write_params(tmp_path, {"train.steps": 5, "pretrain.steps": 3, "export.license": "MIT"})
    for folder in ("models", "reports", "data/prepared"):
        (tmp_path / folder).mkdir(parents=True)
    model = build_generator("compact", scale=4, features=4, depth=0).eval()
    save_generator(tmp_path / "models/generator.safetensors", model, {"sr.train_run": "a1b2"})
    images = [{"part": part, "set": name} for part, name in (("train", "boats"), ("train", "cats"), ("test", "dogs"))]
    (tmp_path / "data/prepared/manifest.json").write_text(json.dumps({"images": images}))
    facts = ["--author", "jane-doe", "--url", "https://example.com/r", "--to", "safetensors"]
    for card, used in (("# Card of the run a1b2\n", True), ("# Card of another run\n", False)):
        (tmp_path / "reports/MODEL_CARD.md").write_text(card)
        run("srgan", "publish", "-o", "out", *facts, cwd=tmp_path)
        found = json.loads((tmp_path / "out/4x-demo.json").read_text())
        assert openmodeldb.problems("4x-demo", found) == []
        assert (found["license"], found["dataset"], found["datasetSize"], found["trainingIterations"]) == ("MIT", "boats, cats", 2, 8)
        text = (tmp_path / "out/README.md").read_text()
        assert text.startswith(card if used else "# 4x-demo")
        assert found["resources"][0]["sha256"] in text
