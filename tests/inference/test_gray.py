"""A model for gray images, on gray images and on colours."""

import numpy as np
import onnx
import pytest
import skimage.data
import torch
from PIL import Image

from srgan.export.onnx import export_onnx
from srgan.images.hints import LUMA
from srgan.images.read import as_grey, open_image
from srgan.inference.chroma import with_chroma
from srgan.inference.photo import upscale_file
from srgan.inference.torch_upscale import upscale
from srgan.inference.upscaler import Upscaler
from srgan.models.registry import build_generator
from srgan.utils.errors import SrganError

CAT = np.ascontiguousarray(skimage.data.chelsea()[100:140, 100:170])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_generator("compact", scale=2, features=8, depth=1, channels=1).eval()


@pytest.fixture(scope="module")
def gray(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("gray") / "2x-gray-compact-fp32.onnx"
    result = export_onnx(path, network, {"sr.objective": "gan", "sr.license": "none"})
    assert set(result["max_difference"]) == {"1x1x1x1", "1x1x33x7", "2x1x17x31", "1x1x97x101"}
    return Upscaler(path, provider="cpu")


def test_the_file_says_what_it_takes(gray):
    proto = onnx.load(gray.path)
    for value in (proto.graph.input[0], proto.graph.output[0]):
        assert value.type.tensor_type.shape.dim[1].dim_value == 1
    assert (gray.metadata["sr.color"], gray.channels) == ("Y", 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_gray_image_stays_gray_and_keeps_its_depth(gray, network, dtype):
    image = as_grey(CAT).astype(dtype) * (257 if dtype == np.uint16 else 1)
    result = gray.upscale(image)
    assert (result.shape, result.dtype) == ((80, 140), dtype)
    white = np.iinfo(dtype).max
    with torch.no_grad():
        expected = network(torch.from_numpy(image.astype(np.float32) / white)[None, None])[0, 0].clamp(0, 1).numpy()
    assert np.abs(result / white - expected).max() <= 0.51 / white + 1e-5


def test_colours_are_interpolated_and_the_luma_is_that_of_the_model(gray):
    result = gray.upscale(CAT.astype(np.float32) / 255)
    luma = gray.upscale((CAT.astype(np.float32) / 255) @ LUMA)
    assert result.shape == (80, 140, 3)
    assert np.abs(result @ LUMA - luma).max() < 1e-5
    assert 0 <= result.min() <= result.max() <= 1
    smooth = np.asarray(Image.fromarray(CAT).resize((140, 80), Image.Resampling.BICUBIC)) / 255
    ours, theirs = (image - (image @ LUMA)[..., None] for image in (result, smooth))
    assert np.abs(ours - theirs).mean() < 0.01


def test_torch_and_the_file_agree_on_colours(gray, network):
    assert np.abs(upscale(network, CAT).astype(int) - gray.upscale(CAT)).max() <= 1


def test_a_gray_image_in_three_channels_stays_exactly_gray(gray):
    result = gray.upscale(np.dstack([as_grey(CAT)] * 3))
    assert np.array_equal(result, np.dstack([result[..., 0]] * 3))


def test_chroma_that_does_not_fit_is_reduced_and_the_luma_stays():
    colours = np.zeros((4, 4, 3), np.float32)
    colours[..., 0] = 1  # pure red has the luma 0.299
    for level in (0.0, 0.1, 0.9, 1.0):
        result = with_chroma(np.full((8, 8), level, np.float32), colours)
        assert np.allclose(result @ LUMA, level, atol=1e-6)
        assert -1e-6 <= result.min() <= result.max() <= 1 + 1e-6


def test_files_of_both_kinds_are_written(gray, tmp_path):
    Image.fromarray(as_grey(CAT).astype(np.uint16) * 257).save(tmp_path / "scan.png")
    Image.fromarray(CAT).save(tmp_path / "photo.png")
    for name, shape, dtype in (("scan", (80, 140), np.uint16), ("photo", (80, 140, 3), np.uint8)):
        upscale_file(gray, tmp_path / f"{name}.png", tmp_path / f"{name}-big.png")
        pixels = open_image(tmp_path / f"{name}-big.png").pixels
        assert (pixels.shape, pixels.dtype) == (shape, dtype)


def test_tiles_equal_the_whole_image(gray):
    tiled = Upscaler(gray.path, provider="cpu", tile=32)
    assert np.abs(tiled.upscale(CAT).astype(int) - gray.upscale(CAT)).max() <= 1


def test_an_unknown_colour_entry_is_an_error(gray, tmp_path):
    proto = onnx.load(gray.path)
    for entry in proto.metadata_props:
        if entry.key == "sr.color":
            entry.value = "CMYK"
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(SrganError, match=r"its entry sr\.color is 'CMYK', expected is RGB or Y"):
        Upscaler(tmp_path / "odd.onnx")
