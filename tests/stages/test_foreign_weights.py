"""A training that starts from the network of another project."""

import json

import onnx
import pytest

from srgan.models.checkpoints import load_generator
from srgan.models.registry import architecture_of
from tests.helpers.commands import run
from tests.helpers.foreign import foreign_file
from tests.helpers.project import make_project

pytest.importorskip("spandrel")

CHANGES = {
    "model": {"name": "spandrel"},
    "prepare.scale": 4,
    "pretrain.pretrained": "own/theirs.pth",
    "export.origin": "A. Author, https://example.org",
    "export.origin_license": "CC-BY-4.0",
}


@pytest.mark.slow
def test_both_stages_the_export_and_the_card_follow_a_start_from_another_project(tmp_path):
    folder = make_project(tmp_path / "project", CHANGES)
    (folder / "own").mkdir()
    foreign_file(folder / "own" / "theirs.pth", "MoSR", upscale=4)
    for stage in ("download", "prepare", "pretrain", "train", "export", "evaluate", "register"):
        run("srgan", stage, cwd=folder)
    for name in ("pretrained", "generator"):
        trained, _ = load_generator(folder / "models" / f"{name}.safetensors")
        name, config = architecture_of(trained)
        assert (name, config["architecture"]) == ("spandrel", "MoSR")
    metadata = {entry.key: entry.value for entry in onnx.load(folder / "models" / "4x-demo-spandrel-fp32.onnx").metadata_props}
    assert (metadata["sr.origin"], metadata["sr.origin_license"]) == ("A. Author, https://example.org", "CC-BY-4.0")
    card = (folder / "reports" / "MODEL_CARD.md").read_text()
    assert "- The training started from weights of A. Author, https://example.org. Their licence: CC-BY-4.0" in card
    scores = json.loads((folder / "reports" / "metrics.json").read_text())["sample"]
    assert scores["gan"]["psnr_y"] == pytest.approx(scores["onnx-fp32"]["psnr_y"], abs=0.01)
    run("srgan", "compare", "own/theirs.pth", "workspace", "-o", "reports/compare.html", cwd=folder)
    assert "theirs.pth" in (folder / "reports" / "compare.html").read_text()
