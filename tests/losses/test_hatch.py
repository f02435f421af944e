import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.registry import LOSSES
from srgan.metrics.hatch import hatch

PATTERN = torch.tensor([[1.0, -1, 1, -1], [-1, 1, -1, 1], [1, -1, 1, -1], [-1, 1, -1, 1]]).repeat(24, 24) / 255


def loss(sr_image, hr_image, period=4):
    return LOSSES["hatch"].factory(period=period)(LossInputs(sr_image, hr_image, hr_image[..., ::4, ::4]))


def noise(seed, sigma=2 / 255):
    return torch.randn((2, 3, 96, 96), generator=torch.Generator().manual_seed(seed)) * sigma


@pytest.mark.parametrize("period", [2, 4, 8])
def test_the_value_is_the_amplitude_in_levels(period):
    flat = torch.full((2, 3, 96, 96), 0.5)
    assert loss(flat + 2 * PATTERN, flat, period).item() == pytest.approx(2, abs=0.01)
    assert loss(flat, flat, period).item() == 0


def test_noise_and_the_texture_of_the_original_do_not_count():
    flat = torch.full((2, 3, 96, 96), 0.5)
    assert loss(flat, flat + noise(0)).item() < 0.01
    assert loss(flat + noise(1), flat + noise(0)).item() < 0.01
    assert loss(flat + PATTERN, flat + PATTERN).item() == 0


def test_a_texture_is_not_rewarded():
    """Blocks whose mean is zero have less in common than those of noise. A reward for that lets a training diverge."""
    flat = torch.full((2, 3, 96, 96), 0.5)
    signs = torch.where(torch.arange(96) // 4 % 2 == 0, 1.0, -1.0)  # of the rows and columns of blocks
    opposite = 20 * PATTERN * signs * signs[:, None]
    assert loss(flat + opposite, flat).item() == 0


def test_a_step_against_the_gradient_removes_the_hatch_that_the_metric_sees():
    original = torch.full((1, 3, 96, 96), 0.5) + noise(3)[:1]
    image = (original + 3 * PATTERN).requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(loss(image, original), image)
        image = (image - 0.2 * gradient).detach().requires_grad_()

    def measured(pixels):
        return hatch((255 * pixels[0].permute(1, 2, 0)).round().clamp(0, 255).byte().numpy())

    assert measured(image.detach()) < 0.5 < 2 < measured(original + 3 * PATTERN)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts():
    sr_image, hr_image = noise(4) + 0.5, noise(5, 0.1) + 0.5
    parts = [loss(sr_image[i : i + 1], hr_image[i : i + 1]) for i in range(2)]
    assert loss(sr_image, hr_image).item() == pytest.approx(sum(parts).item() / 2, rel=1e-5)


@pytest.mark.parametrize("size", [(3, 40), (4, 4), (24, 40), (33, 100)])
def test_patches_of_any_size_have_a_loss(size):
    sr_image = torch.rand(1, 3, *size).requires_grad_()
    value = loss(sr_image, torch.rand(1, 3, *size))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(sr_image.grad).all()
