import numpy as np
import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.registry import LOSSES


def loss(sr_image, hr_image):
    return LOSSES["focal_frequency"].factory()(LossInputs(sr_image, hr_image, hr_image))


def test_the_value_is_that_of_the_formula():
    sr_image, hr_image = (torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    values = []
    for one, other in zip(sr_image.flatten(0, 1).numpy(), hr_image.flatten(0, 1).numpy(), strict=True):
        difference = np.abs(np.fft.fft2(one.astype(float)) - np.fft.fft2(other.astype(float))) / np.sqrt(one.size)
        values.append((difference / difference.max() * difference**2).mean())
    assert loss(sr_image, hr_image).item() == pytest.approx(np.mean(values), rel=1e-5)


def test_the_frequency_with_the_largest_error_counts_most():
    hr_image = torch.zeros(1, 3, 16, 16)
    column = torch.arange(16) / 16
    strong, weak = (amplitude * torch.cos(2 * torch.pi * frequency * column) for amplitude, frequency in ((0.4, 6), (0.1, 2)))
    sr_image = (hr_image + strong + weak).requires_grad_()
    loss(sr_image, hr_image).backward()
    spectrum = torch.fft.fft2(sr_image.grad)[0, 0, 0].abs()
    assert spectrum[6].item() == pytest.approx(16 * spectrum[2].item(), rel=1e-3)  # L2 alone: 4 times


def test_equal_images_have_no_loss_and_a_finite_gradient():
    hr_image = torch.rand(1, 3, 9, 7)
    sr_image = hr_image.clone().requires_grad_()
    value = loss(sr_image, hr_image)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(sr_image.grad).all()


def test_the_loss_of_a_batch_is_the_mean_of_its_parts():
    sr_image, hr_image = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    parts = [loss(sr_image[n : n + 1], hr_image[n : n + 1]).item() for n in range(2)]
    assert loss(sr_image, hr_image).item() == pytest.approx(sum(parts) / 2, rel=1e-5)
