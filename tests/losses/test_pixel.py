import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.registry import LOSSES


def value(name, sr_image, hr_image=None):
    hr_image = sr_image if hr_image is None else hr_image
    return LOSSES[name].factory()(LossInputs(sr_image, hr_image, hr_image[..., ::4, ::4]))


@pytest.mark.parametrize("name", ["l1", "mse", "charbonnier"])
def test_pixel_losses_pull_towards_the_hr_image(name):
    sr_image = torch.full((1, 3, 4, 4), 0.4, requires_grad=True)
    value(name, sr_image, torch.full((1, 3, 4, 4), 0.6)).backward()
    assert (sr_image.grad < 0).all()  # a step against the gradient makes it brighter


@pytest.mark.parametrize(("name", "expected"), [("l1", 0.5), ("mse", 0.25), ("charbonnier", 0.5)])
def test_pixel_losses_have_the_values_of_their_formulas(name, expected):
    zero = torch.zeros(1, 3, 4, 4)
    assert value(name, zero, zero + 0.5) == pytest.approx(expected, abs=1e-5)
    assert value(name, zero) == pytest.approx(1e-3 if name == "charbonnier" else 0)


def test_total_variation_pulls_neighbours_together():
    image = torch.zeros(1, 3, 3, 3)
    image[..., 1, 1] = 1
    image.requires_grad_()
    loss = value("tv", image)
    assert loss.item() == pytest.approx(2 * 2 / 6)  # two of six differences in either direction
    loss.backward()
    assert (image.grad[..., 1, 1] > 0).all()
    assert (image.grad[..., 0, 1] < 0).all()


def gradient(sr_image, hr_image, levels=1):
    return LOSSES["gradient"].factory(levels=levels)(LossInputs(sr_image, hr_image, hr_image))


def test_the_gradient_loss_ignores_a_tint_and_sees_a_scratch_and_a_wide_stain():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tint = torch.tensor([0.2, -0.1, 0.0]).view(1, 3, 1, 1)
    assert gradient(image + tint, image, levels=3).item() < 1e-6
    scratch, stain = image.clone(), image.clone()
    scratch[..., 8] += 0.5
    stain[..., 8:] += 0.5
    assert gradient(scratch, image).item() == pytest.approx(2 * 0.5 / 31, rel=1e-4)
    assert gradient(stain, image).item() == pytest.approx(0.5 / 31, rel=1e-4)
    assert gradient(stain, image, levels=2).item() == pytest.approx((0.5 / 31 + 0.5 / 15) / 2, rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (5, 64)])
def test_the_gradient_loss_of_a_small_patch_is_a_number(size):
    sr_image = torch.rand(1, 3, *size, requires_grad=True)
    gradient(sr_image, torch.rand(1, 3, *size), levels=6).backward()
    assert torch.isfinite(sr_image.grad).all()
