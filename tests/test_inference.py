import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from conftest import run
from srgan import export, models
from srgan.errors import SrganError
from srgan.inference import Upscaler


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    torch.manual_seed(1)
    model = models.build_generator("compact", scale=2, features=8, depth=2).eval()
    path = tmp_path_factory.mktemp("m") / "2x-t-compact-fp32.onnx"
    export.export_onnx(path, model, {})
    return path


@pytest.fixture
def photograph():
    random = np.random.default_rng(0)
    return np.kron(random.integers(0, 256, (9, 12, 3)), np.ones((5, 5, 1))).astype(np.uint8)


def test_tiles_give_what_the_whole_image_gives(model_path, photograph):
    whole = Upscaler(model_path, tile=4096).upscale(photograph)
    assert whole.shape == (90, 120, 3)
    for tile in (1, 7, 16, 45):
        difference = np.abs(Upscaler(model_path, tile=tile).upscale(photograph).astype(int) - whole)
        assert difference.max() <= 1  # a value between two levels may round either way


def test_one_pixel_is_enough(model_path):
    assert Upscaler(model_path).upscale(np.zeros((1, 1, 3), np.uint8)).shape == (2, 2, 3)


def test_files_keep_their_kind(model_path, tmp_path, photograph):
    upscaler = Upscaler(model_path)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = Image.fromarray(photograph)
    rgb.save(tmp_path / "rgb.png", icc_profile=profile)
    rgb.convert("L").save(tmp_path / "grey.png")
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 60).astype(np.uint8), (45, 1))))
    rgba.save(tmp_path / "rgba.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    rgb.save(tmp_path / "turned.jpg", exif=exif)

    for source, target, mode, size in (
        ("rgb.png", "a.png", "RGB", (120, 90)),
        ("grey.png", "b.png", "L", (120, 90)),
        ("rgba.png", "c.png", "RGBA", (120, 90)),
        ("rgba.png", "d.jpg", "RGB", (120, 90)),
        ("turned.jpg", "e.webp", "RGB", (90, 120)),
    ):
        upscaler.upscale_file(tmp_path / source, tmp_path / target)
        with Image.open(tmp_path / target) as result:
            assert (result.mode, result.size) == (mode, size), target
            assert not result.getexif().get(0x0112), target
            if target == "a.png":
                assert result.info["icc_profile"] == profile


def test_sixteen_bit_grey_keeps_its_greys(model_path, tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (8, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    Upscaler(model_path).upscale_file(tmp_path / "deep.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as result:
        assert result.mode == "L"
        assert 100 < np.asarray(result).mean() < 155


def test_a_format_that_is_too_small_is_refused_before_the_work(model_path, tmp_path):
    Image.new("L", (9000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(SrganError, match="WEBP ends at 16383 pixels a side, this needs 18000"):
        Upscaler(model_path).upscale_file(tmp_path / "wide.png", tmp_path / "out.webp")


def test_errors_are_told_by_name(model_path, tmp_path):
    with pytest.raises(SrganError, match=r"x\.onnx: no such file"):
        Upscaler(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(SrganError, match=r"x\.onnx: not a model that ONNX Runtime can load"):
        Upscaler(tmp_path / "x.onnx")
    Image.new("RGB", (4, 4)).save(tmp_path / "in.png")
    with pytest.raises(SrganError, match=r"no picture format is called '\.xyz'"):
        Upscaler(model_path).upscale_file(tmp_path / "in.png", tmp_path / "out.xyz")
    good = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(good, format="PNG")
    (tmp_path / "cut.png").write_bytes(good.getvalue()[:1500])
    with pytest.raises(SrganError, match=r"cut\.png: .*truncated"):
        Upscaler(model_path).upscale_file(tmp_path / "cut.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_the_command_uses_the_exported_model(project, tmp_path):
    Image.new("RGB", (20, 10), (200, 30, 30)).save(tmp_path / "photo.jpg")
    done = run("srgan", "upscale", tmp_path / "photo.jpg", "-o", tmp_path / "out.png", cwd=project)
    with Image.open(tmp_path / "out.png") as result:
        assert result.size == (80, 40)
    assert "x4 by 4x-demo-compact-fp32.onnx on " in done.stderr
