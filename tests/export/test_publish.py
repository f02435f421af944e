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


def test_the_pipelines_model_brings_its_card_and_its_training(copy_of_project):
    facts = ["--author", "jane-doe", "--license", "MIT", "--url", "https://example.com/r", "--to", "safetensors"]
    run("srgan", "publish", "-o", "out", *facts, cwd=copy_of_project)
    (path,) = (copy_of_project / "out").glob("*.json")
    found = json.loads(path.read_text())
    assert openmodeldb.problems(path.stem, found) == []
    manifest = json.loads((copy_of_project / "data/prepared/manifest.json").read_text())
    assert found["datasetSize"] == sum(image["part"] == "train" for image in manifest["images"])
    assert found["trainingIterations"] > 0
    card = (copy_of_project / "out" / "README.md").read_text()
    assert card.startswith((copy_of_project / "reports" / "MODEL_CARD.md").read_text().rstrip())
    assert found["resources"][0]["sha256"] in card
