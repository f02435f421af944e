"""The options of `srgan upscale` that refine single images, as people type them."""

import cv2
import numpy as np
import skimage.data
from PIL import Image

from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from tests.helpers.commands import run


def test_an_image_is_adapted_and_projected(tmp_path):
    save_generator(tmp_path / "tiny.safetensors", build_generator("compact", scale=2, features=4, depth=1), {"sr.objective": "psnr"})
    Image.fromarray(cv2.GaussianBlur(skimage.data.chelsea()[:100, :120], (0, 0), 1)).save(tmp_path / "in.png")
    model = ("--model", "tiny.safetensors")
    run("srgan", "upscale", "in.png", "-o", "plain.png", *model, cwd=tmp_path)
    options = ("--adapt", "--adapt-seconds", "2", "--back-project", "--ensemble", "8")
    done = run("srgan", "upscale", "in.png", "-o", "refined.png", *model, *options, cwd=tmp_path)
    assert "blur of the image: " in done.stderr
    assert "adapted in" in done.stderr
    plain, refined = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("plain", "refined"))
    assert refined.shape == plain.shape == (200, 240, 3)
    assert np.abs(refined.astype(int) - plain).max() > 5


def test_an_exported_model_cannot_be_adapted(model, tmp_path):
    Image.fromarray(skimage.data.chelsea()[:60, :60]).save(tmp_path / "in.png")
    done = run("srgan", "upscale", "in.png", "--model", str(model), "--adapt", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "cannot be trained. Name a starter or weights with --model" in done.stderr
