import logging

import numpy as np
import pytest
import torch
from PIL import Image

from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import from_state_dict, save_generator
from srgan.models.registry import build_generator
from srgan.tracking import find_run
from srgan.utils.errors import SrganError
from tests.helpers.commands import run
from tests.helpers.foreign import foreign, foreign_file

pytest.importorskip("spandrel")


def test_an_image_is_upscaled_with_the_weights_of_another_project(tmp_path, capsys):
    foreign_file(tmp_path / "theirs.pth", "OmniSR")
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 4), np.uint8)
    Image.fromarray(pixels[..., :3]).save(tmp_path / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    done = run("srgan", "upscale", "photo.png", "clear.png", "-o", "large", "--model", "theirs.pth", cwd=tmp_path)
    assert "x2 by theirs.pth on CPU by PyTorch" in done.stderr
    expected = upscale(from_state_dict(foreign("OmniSR"), "x").eval(), pixels[..., :3])
    result = np.asarray(Image.open(tmp_path / "large" / "photo.png"))
    assert abs(result.astype(int) - expected).max() <= 1
    assert Image.open(tmp_path / "large" / "clear.png").mode == "RGBA"


def test_the_weights_describe_themselves_as_an_exported_file_does(tmp_path):
    path = foreign_file(tmp_path / "theirs.pth", "SAFMN")
    theirs = Upscaler(path, provider="cpu")
    assert (theirs.scale, theirs.metadata["sr.license"], theirs.metadata["sr.objective"]) == (2, "unknown", "gan")
    assert theirs.metadata["sr.multiple_of"] == "8"
    assert "sr.receptive_field" not in theirs.metadata  # unknown
    found = find_run.find(None, str(path), tmp_path)
    assert (found.model, found.origin) == (path, f"the file {path}")
    save_generator(tmp_path / "ours.safetensors", build_generator("compact", scale=3, features=4, depth=1), {"sr.objective": "psnr"})
    ours = Upscaler(tmp_path / "ours.safetensors")
    assert (ours.scale, ours.metadata["sr.objective"], ours.metadata["sr.receptive_field"]) == (3, "psnr", "3")
    image = np.random.default_rng(0).random((9, 11, 3), dtype=np.float32)
    with torch.inference_mode():
        expected = ours._engine.run(image.transpose(2, 0, 1)[None].copy())
    assert np.abs(ours.upscale(image) - expected[0].transpose(1, 2, 0).clip(0, 1)).max() < 1e-6


def test_memory_of_the_activations_limits_the_tiles(tmp_path):
    small, large = (
        Upscaler(foreign_file(tmp_path / f"{kind}.pth", kind), provider="cpu").metadata["sr.memory_per_pixel"]
        for kind in ("SAFMN", "OmniSR")
    )
    assert 4 * 16 * 4 < int(small) < int(large)  # at least four activations of 16 channels


def test_a_runtime_that_cannot_take_weights_is_named(tmp_path, caplog):
    path = foreign_file(tmp_path / "theirs.pth", "SAFMN")
    with caplog.at_level(logging.WARNING):
        assert Upscaler(path, provider="openvino").provider.endswith("by PyTorch")
    assert f"Export it first: srgan export {path}" in caplog.text
    with pytest.raises(SrganError, match="provider tensorrt does not work here"):
        Upscaler(path, provider="tensorrt", strict=True)
