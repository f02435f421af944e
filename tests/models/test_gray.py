"""Networks with one channel."""

import pytest
import torch
from torch.nn import functional

from srgan.config.data import Prepare
from srgan.models.checkpoints import load_generator, load_pretrained, save_generator
from srgan.models.luma import as_rgb, luma
from srgan.models.registry import NETWORKS, architecture_of, build_generator
from srgan.utils.errors import SrganError
from tests.models.test_networks import SCALES, SMALL

GRAY = [(label, scale) for label in SMALL for scale in SCALES.get(label, (1, 4))]


@pytest.mark.parametrize(("label", "scale"), GRAY, ids=lambda value: str(value))
def test_a_gray_network_is_read_from_its_weights(label, scale, tmp_path):
    torch.manual_seed(0)
    model = build_generator(label.split("-")[0], scale=scale, channels=1, **SMALL[label]).eval()
    image = torch.rand(1, 1, 12, 9)
    assert model(image).shape == (1, 1, 12 * scale, 9 * scale)
    save_generator(tmp_path / "a.safetensors", model, {})
    loaded, _ = load_generator(tmp_path / "a.safetensors")
    assert architecture_of(loaded) == (label.split("-")[0], {"scale": scale, "channels": 1} | SMALL[label])
    assert torch.allclose(loaded(image), model(image), atol=1e-6)
    assert torch.allclose(loaded.folded()(image), model(image), atol=1e-4)


def test_every_network_of_the_registry_is_tested():
    assert {label.split("-")[0] for label in SMALL} == {name for name, network in NETWORKS.items() if not network.from_weights}


def test_a_gray_network_starts_as_bilinear_enlargement():
    model = build_generator("compact", scale=2, features=8, depth=2, channels=1)
    with torch.no_grad():
        model.body[-1].weight[:, 1:] = 0  # the random part of the start
    image, inside = torch.rand(1, 1, 20, 20), slice(16, -16)
    expected = functional.interpolate(image, scale_factor=2, mode="bilinear")
    assert torch.allclose(model(image)[..., inside, inside], expected[..., inside, inside], atol=1e-6)


def test_weights_of_another_scale_start_a_gray_network(tmp_path):
    torch.manual_seed(0)
    four, two = (build_generator("compact", scale=scale, features=4, depth=1, channels=1).eval() for scale in (4, 2))
    save_generator(tmp_path / "start.safetensors", four, {})
    done = load_pretrained(tmp_path / "start.safetensors", two)
    assert not done.new
    image = torch.rand(1, 1, 6, 5)
    assert torch.allclose(two(image), functional.avg_pool2d(four(image), 2), atol=1e-5)


@pytest.mark.parametrize("label", [label for label in SMALL if label != "span-reparameterized"])
def test_a_gray_network_starts_as_the_luma_of_an_rgb_one(label, tmp_path):
    torch.manual_seed(0)
    name, scale = label.split("-")[0], SCALES.get(label, (2,))[-1]
    colours, gray = (build_generator(name, scale=scale, channels=channels, **SMALL[label]).eval() for channels in (3, 1))
    with torch.no_grad():
        for weight in colours.parameters():  # some begin with zeros
            weight += 0.05 * torch.randn_like(weight)
    save_generator(tmp_path / "rgb.safetensors", colours, {})
    done = load_pretrained(tmp_path / "rgb.safetensors", gray)
    image = torch.rand(1, 1, 12, 16)
    expected = luma(colours(as_rgb(image)))
    if label == "realplksr-dysample":
        assert {key.split(".")[0] for key in done.new} == {"to_img"}  # its positions belong to the colours
    elif name == "swinir":
        assert (gray(image) - expected).abs().mean() < 0.1  # the mean colour is subtracted before the first layer
    else:
        assert not done.new
        assert torch.allclose(gray(image), expected, atol=1e-4)
    assert done.adapted


def test_an_rgb_network_cannot_start_from_a_gray_one(tmp_path):
    save_generator(tmp_path / "gray.safetensors", build_generator("compact", scale=2, features=4, depth=1, channels=1), {})
    with pytest.raises(
        SrganError, match=r"a network for gray images, but prepare\.channels is 3\. To start from this file set prepare\.channels: 1"
    ):
        load_pretrained(tmp_path / "gray.safetensors", build_generator("compact", scale=2, features=4, depth=1))


def test_three_equal_channels_share_the_memory_of_one():
    gray, colours = torch.rand(2, 1, 3, 3), torch.rand(2, 3, 3, 3)
    assert as_rgb(colours) is colours
    assert torch.equal(as_rgb(gray), gray.repeat(1, 3, 1, 1))
    assert as_rgb(gray).data_ptr() == gray.data_ptr()


def test_a_colorization_needs_colors():
    with pytest.raises(ValueError, match="leaves no color to learn"):
        Prepare(scale=1, channels=1, recipe="grayscale")
