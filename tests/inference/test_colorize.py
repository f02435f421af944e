"""Grey photographs through a model that colourizes."""

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from srgan.images.read import open_image
from srgan.images.write import Options
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from tests.helpers.project import write_colorizer
from tests.images.test_hints import strokes

GREY = np.asarray(Image.fromarray(skimage.data.chelsea()[:200, :300]).convert("L"))
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def colorizer(tmp_path_factory):
    return write_colorizer(tmp_path_factory.mktemp("colour"))


def luma_difference(pixels, grey):
    white = 255 if pixels.dtype == np.uint8 else 65535 if pixels.dtype == np.uint16 else 1
    return np.abs(pixels.astype(np.float64) @ LUMA - grey.astype(np.float64)).max() / white * 255


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_grey_image_gets_colours_and_keeps_its_luma(colorizer, kind):
    grey = (GREY.astype(np.float64) / 255 * {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]).astype(kind)
    result = Upscaler(colorizer).upscale(grey)
    assert (result.shape, result.dtype) == ((*GREY.shape, 3), kind)
    assert luma_difference(result, grey) < 0.51
    assert np.ptp(result, axis=2).mean() > np.float32(0.05) * (1 if kind == np.float32 else np.iinfo(kind).max)


def test_in_8_bits_the_luma_is_exact(colorizer):
    result = Upscaler(colorizer).upscale(GREY)
    assert (np.rint(result @ LUMA) == GREY).mean() > 0.9999


def test_tiles_equal_the_whole_image(colorizer):
    whole = Upscaler(colorizer, tile=512).upscale(GREY)
    tiled = Upscaler(colorizer, tile=64)
    assert tiled.tile_count(GREY) > 4
    assert np.abs(tiled.upscale(GREY).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("mode", ["L", "LA", "sepia", "1"])
def test_every_kind_of_grey_photograph_becomes_a_colour_photograph(colorizer, tmp_path, suffix, mode):
    photograph, exif = Image.fromarray(GREY), Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6  # upright
    if mode == "LA":
        photograph.putalpha(Image.fromarray(np.where(np.arange(300) < 20, 0, 255).astype(np.uint8)[None].repeat(200, 0)))
    elif mode == "sepia":
        photograph = Image.merge("RGB", [photograph, photograph.point(lambda v: v * 0.9), photograph.point(lambda v: v * 0.7)])
    elif mode == "1":
        photograph = photograph.convert("1")
    photograph.save(tmp_path / "in.png", exif=exif)
    target = tmp_path / f"out{suffix}"
    assert upscale_file(Upscaler(colorizer), tmp_path / "in.png", target, Options(lossless=True)) == (200, 300)
    result, source = open_image(target), open_image(tmp_path / "in.png")
    assert result.pixels.shape == (300, 200, 3)
    assert result.exif[0x010F] == "Maker"
    assert (result.alpha is not None) == (mode == "LA" and suffix != ".jpg")
    if mode == "LA" and result.alpha is not None:
        assert np.array_equal(result.alpha, source.alpha)
    if suffix in (".png", ".tif"):
        grey = source.pixels if source.pixels.ndim == 2 else source.pixels @ LUMA
        shown = np.ones(grey.shape, bool) if source.alpha is None else source.alpha > 0
        assert luma_difference(result.pixels[shown], grey[shown]) <= 1
        assert mode == "1" or np.ptp(result.pixels[shown], axis=1).mean() > 10  # black and white take no colour


def test_the_result_states_that_its_colours_are_generated(colorizer, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "in.png")
    upscale_file(Upscaler(colorizer), tmp_path / "in.png", tmp_path / "out.png")
    assert b"compositeWithTrainedAlgorithmicMedia" in open_image(tmp_path / "out.png").xmp


def test_a_tint_has_no_influence(colorizer, tmp_path):
    grey = GREY // 2
    tinted = np.stack([grey + 10, grey, grey], axis=2)
    Image.fromarray(tinted).save(tmp_path / "tinted.png")
    Image.fromarray(tinted).convert("L").save(tmp_path / "grey.png")
    results = []
    for name in ("tinted", "grey"):
        upscale_file(Upscaler(colorizer), tmp_path / f"{name}.png", tmp_path / f"{name}-out.png")
        results.append(open_image(tmp_path / f"{name}-out.png").pixels.astype(int))
    assert np.abs(results[0] - results[1]).mean() < 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_model_without_hints_gets_the_luma_of_a_tinted_array(tmp_path, kind):
    upscaler = Upscaler(write_colorizer(tmp_path, hints=False))
    white = 1 if kind == np.float32 else np.iinfo(kind).max
    grey = (GREY[:50, :60] / 255 * white).astype(kind)
    tinted = np.stack([grey, grey * 0.9, grey * 0.7], axis=2).astype(kind)
    assert np.ptp(upscaler.upscale(tinted), axis=2).mean() > 0.05 * white
    assert luma_difference(upscaler.upscale(tinted), cv2.cvtColor(tinted, cv2.COLOR_RGB2GRAY)) < 0.51
    assert np.array_equal(upscaler.upscale(tinted), upscaler.upscale(cv2.cvtColor(tinted, cv2.COLOR_RGB2GRAY)))
    assert np.allclose(upscaler.upscale(np.dstack([grey] * 3)), upscaler.upscale(grey), atol=1e-5)


def test_hints_change_the_colours_around_them(colorizer, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "in.png")
    hints = strokes(tmp_path / "hints.png", size=(300, 200))
    for name, chosen in (("without", None), ("with", hints)):
        upscale_file(Upscaler(colorizer), tmp_path / "in.png", tmp_path / f"{name}.png", hints=chosen)
    without, followed = (open_image(tmp_path / f"{name}.png").pixels.astype(int) for name in ("without", "with"))
    assert luma_difference(followed.astype(np.uint8), GREY) <= 1
    assert np.abs(followed - without)[2:6, 3:12].mean() > 2
    assert np.array_equal(followed[40:], without[40:])


def test_a_model_without_hints_refuses_them(upscaler, tmp_path):
    Image.fromarray(GREY).save(tmp_path / "in.png")
    hints = strokes(tmp_path / "hints.png", size=(300, 200))
    with pytest.raises(SrganError, match="was not trained with colour hints"):
        upscale_file(upscaler, tmp_path / "in.png", tmp_path / "out.png", hints=hints)
