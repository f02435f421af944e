import os
from pathlib import Path

import pytest
import torch

from srgan.data.download import weights
from srgan.data.download.http import TransferError
from srgan.images.read import read_rgb
from srgan.losses.base import LossInputs
from srgan.losses.perceptual import VggLoss
from srgan.losses.registry import LOSSES, build_loss
from srgan.utils.errors import SrganError

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
