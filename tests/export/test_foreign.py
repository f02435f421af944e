"""Export of networks of other projects."""

import numpy as np
import onnxruntime
import pytest
import torch

from srgan.export import checkpoints, onnx
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import from_state_dict
from srgan.utils.errors import SrganError
from tests.helpers.foreign import foreign, foreign_file

pytest.importorskip("spandrel")


@pytest.mark.slow
def test_a_network_of_another_project_becomes_a_model_for_any_size(tmp_path):
    kind = "MoSR"
    weights = foreign_file(tmp_path / "theirs.pth", kind)
    path = checkpoints.export_checkpoint(weights, license="MIT", origin="A. Author, https://example.org")
    assert path.name == "2x-theirs-spandrel-fp32.onnx"
    metadata = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert (metadata["sr.license"], metadata["sr.origin"]) == ("MIT", "A. Author, https://example.org")
    assert (metadata["sr.arch"], kind in metadata["sr.arch_config"]) == ("spandrel", True)
    model, exported = from_state_dict(foreign(kind), "x").eval(), Upscaler(path)
    for height, width in ((1, 1), (40, 26)):
        image = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            assert np.abs(exported.run(image.numpy()) - model(image).numpy()).max() < 1e-4


def test_a_graph_that_cannot_be_exported_is_an_error_with_the_architecture(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("a size depends on data\nand a page of more words")

    monkeypatch.setattr(onnx, "_to_proto", fails)
    message = r"export: SAFMN cannot be written as an .onnx file for images of any size \(a size depends on data\). `srgan upscale --model`"
    with pytest.raises(SrganError, match=message):
        checkpoints.export_checkpoint(foreign_file(tmp_path / "theirs.pth", "SAFMN"))
    assert not list(tmp_path.glob("*.onnx"))


def test_license_and_origin_of_foreign_weights_are_asked_for(tmp_path, caplog):
    foreign_file(tmp_path / "theirs.pth", "SAFMN")
    checkpoints.convert(tmp_path / "theirs.pth", "pth", tmp_path / "out")
    assert "theirs.pth: weights of a third party. Name their license and origin with --license and --origin" in caplog.text
    caplog.clear()
    checkpoints.convert(tmp_path / "theirs.pth", "safetensors", tmp_path / "out", license="MIT", origin="A. Author")
    assert "third party" not in caplog.text
    _, metadata = checkpoints.read_weights(tmp_path / "out" / "2x-theirs-spandrel.safetensors")
    assert (metadata["sr.license"], metadata["sr.origin"]) == ("MIT", "A. Author")
