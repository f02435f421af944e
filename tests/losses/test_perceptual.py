import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srgan.data.download import weights
from srgan.data.download.catalog import File, Weights
from srgan.data.download.http import TransferError
from srgan.images.read import read_rgb
from srgan.losses.base import LossInputs
from srgan.losses.perceptual import VggLoss
from srgan.losses.registry import LOSSES, build_loss
from srgan.models import vgg
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

MIRROR = os.environ.get("SRGAN_MIRROR")


def inputs(sr_image, hr_image):
    return LossInputs(sr_image, hr_image, hr_image[..., ::4, ::4])


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_the_vgg_loss_sends_a_gradient_to_the_sr_image_only(distance):
    torch.manual_seed(0)
    loss = VggLoss({"conv2_2": 0.5, "conv3_4": 2.0}, distance, trained=False)
    sr_image, hr_image = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
    value = loss(inputs(sr_image, hr_image))
    value.backward()
    assert sr_image.grad.abs().sum() > 0
    assert hr_image.grad is None
    assert all(weight.grad is None for weight in loss.parameters())
    assert loss(inputs(hr_image, hr_image)) == 0
    with torch.no_grad():
        assert loss(inputs(sr_image - 0.1 * sr_image.grad / sr_image.grad.norm(), hr_image)) < value


def test_unavailable_weights_are_reported_with_the_places_and_the_alternatives(monkeypatch, tmp_path):
    monkeypatch.setenv("SRGAN_MIRROR", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "transfer", lambda *_: (_ for _ in ()).throw(TransferError("no network")))
    with pytest.raises(SrganError) as caught:
        build_loss(LOSSES["vgg19"].config(name="vgg19"))
    for part in (
        "vgg19-dcbb9e9d.pth",
        str(tmp_path / "hub"),
        str(tmp_path / "weights"),
        "replace the loss vgg19 in params.yaml by lpips_squeeze",
        "or by feature_matching (no weights)",
    ):
        assert part in str(caught.value)


@pytest.mark.skipif(not MIRROR, reason="SRGAN_MIRROR is not set")
@pytest.mark.parametrize(("name", "first", "second"), [("squeeze", 0.7110, 0.1479), ("alex", 0.7219, 0.1376)])
def test_lpips_as_a_loss_has_the_published_values_and_a_useful_gradient(name, first, second):
    folder = Path(MIRROR) / "weights" / "lpips-examples"
    reference, p0, p1 = (
        torch.from_numpy(read_rgb(next(folder.glob(f"ex_{part}.*")))).permute(2, 0, 1)[None] / 255 for part in ("ref", "p0", "p1")
    )
    loss = build_loss(LOSSES[f"lpips_{name}"].config(name=f"lpips_{name}"))
    assert float(loss(inputs(p0, reference))) == pytest.approx(first, abs=1e-3)
    assert float(loss(inputs(p1, reference))) == pytest.approx(second, abs=1e-3)
    p1 = p1.clone().requires_grad_()
    value = loss(inputs(p1, reference))
    value.backward()
    assert all(weight.grad is None for weight in loss.parameters())
    with torch.no_grad():
        assert loss(inputs(p1 - 0.5 * p1.grad / p1.grad.norm(), reference)) < value


def place(monkeypatch, tmp_path, **files):
    """Put files of weights into a mirror without a network. A name with its factors is a file of another network."""
    entries = []
    for (name, (state, factors)), ending in zip(files.items(), (".pth", ".safetensors"), strict=False):
        path = tmp_path / "mirror" / "weights" / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if state is not None:
            torch.save(state, path) if ending == ".pth" else save_file(state, path)
        entries.append(File((path.name,), sha256=sha256(path) if state is not None else "", factors=factors))
    monkeypatch.setenv("SRGAN_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(weights.WEIGHTS, "vgg19", Weights("vgg19", "", "", tuple(entries)))


@pytest.fixture
def tiny_vgg(monkeypatch):
    """Replace VGG19 by a network with its layers and few channels. Return random weights of it."""
    monkeypatch.setattr("srgan.models.vgg._BLOCKS", tuple((4, convolutions) for _, convolutions in vgg._BLOCKS))
    torch.manual_seed(0)
    return vgg.random_weights()


@pytest.mark.parametrize("layer", ["conv5_4", "relu5_4", "vgg54"])
@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_the_file_of_a_network_with_larger_features_gives_the_same_distances(monkeypatch, tmp_path, tiny_vgg, layer, distance):
    larger = tiny_vgg | {key: 8 * tiny_vgg[key] for key in ("features.34.weight", "features.34.bias")}
    factors = dict.fromkeys(["conv5_4", "relu5_4", "vgg54"], 1 / 8)
    images = inputs(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    place(monkeypatch, tmp_path, first=(tiny_vgg, {}), second=(larger, factors))
    usual = VggLoss({layer: 2.0}, distance)
    assert not usual.substitute  # the first file of the catalogue
    place(monkeypatch, tmp_path, absent=(None, {}), second=({key: value.half() for key, value in larger.items()}, factors))
    other = VggLoss({layer: 2.0}, distance)
    assert {weight.dtype for weight in other.parameters()} == {torch.float32}
    assert float(other(images)) == pytest.approx(float(usual(images)), rel=0.02)  # float16
    assert other.substitute.startswith("second.safetensors ")
    assert len(other.substitute.split()[1]) == 64


def test_layers_without_a_factor_need_the_first_file(monkeypatch, tmp_path, tiny_vgg):
    place(monkeypatch, tmp_path, absent=(None, {}), second=(tiny_vgg, {"conv5_4": 0.06}))
    with pytest.raises(SrganError, match=r"none of absent.pth was found.*second.safetensors is enough for the layers conv5_4 alone"):
        VggLoss({"conv5_4": 1.0, "conv3_4": 1.0}, "l1")


def test_features_of_oxfords_network_get_the_magnitude_of_torchvisions(mirror, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    hr_image = torch.from_numpy(read_rgb(mirror / "datasets" / "set5" / "bird.png"))[:96, :96].permute(2, 0, 1)[None] / 255
    small = torch.nn.functional.interpolate(hr_image, scale_factor=0.25, mode="bicubic", antialias=True)
    sr_image = torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1).requires_grad_()
    loss = build_loss(LOSSES["vgg19"].config(name="vgg19"))
    assert loss.substitute.startswith("vgg19-features-fp16.safetensors aa5c411d")
    value = loss(inputs(sr_image, hr_image))
    assert 0.5 < value.item() < 2
    value.backward()
    with torch.no_grad():
        assert loss(inputs(sr_image - 0.05 * sr_image.grad / sr_image.grad.norm(), hr_image)) < value
