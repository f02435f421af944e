import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.chroma import oklab_chroma
from srgan.losses.registry import LOSSES

PRIMARIES = {  # a and b by the formulas of Ottosson 2020 in float64
    (1.0, 0.0, 0.0): (0.2248631, 0.1258463),
    (0.0, 1.0, 0.0): (-0.2338874, 0.1794985),
    (0.0, 0.0, 1.0): (-0.0324570, -0.3115281),
    (1.0, 1.0, 0.0): (-0.0713691, 0.1985698),
}


def colour(*rgb):
    return torch.tensor(rgb).reshape(1, 3, 1, 1)


def value(sr_image, hr_image):
    return LOSSES["oklab_chroma"].factory()(LossInputs(sr_image, hr_image, hr_image))


@pytest.mark.parametrize(("rgb", "expected"), PRIMARIES.items())
def test_the_primaries_have_the_coordinates_of_the_formulas(rgb, expected):
    assert oklab_chroma(colour(*rgb)).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_grey_of_any_brightness_has_no_chroma():
    levels = torch.linspace(-0.1, 1.1, 101).reshape(1, 1, 1, -1).expand(1, 3, 1, -1)
    assert oklab_chroma(levels).abs().max() < 1e-6
    assert value(levels, levels.flip(3)) < 1e-6  # the brightness has no influence


def test_gradients_are_finite_for_black_and_outside_the_range():
    image = torch.cat([torch.zeros(1, 3, 2, 8), torch.rand(1, 3, 2, 8) * 3 - 1, torch.full((1, 3, 2, 8), 0.04045)], dim=2).requires_grad_()
    value(image, torch.rand(1, 3, 6, 8)).backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().max() < 10
    assert (image.grad[:, :, :2].abs().sum(dim=1) > 0).all()  # black can become coloured


def test_a_step_against_the_gradient_brings_the_colour_nearer():
    red, grey = colour(0.8, 0.2, 0.2), colour(0.4, 0.4, 0.4).requires_grad_()
    before = value(grey, red)
    before.backward()
    assert value((grey - 0.02 * grey.grad.sign()).detach(), red) < before


def test_half_precision_networks_are_compared_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(torch.rand(1, 3, 8, 8).bfloat16(), torch.rand(1, 3, 8, 8))
    assert found.dtype is torch.float32
