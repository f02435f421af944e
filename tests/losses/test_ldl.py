import numpy as np
import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.registry import LOSSES
from srgan.training.objectives import Objective


def loss(sr_image, hr_image, averaged_image=None):
    return LOSSES["ldl"].factory()(LossInputs(sr_image, hr_image, hr_image, averaged_image=averaged_image))


def images(count=3, side=16):
    return [torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]


def expected(sr_image, hr_image, averaged_image):
    """The loss of one `(3, H, W)` image by loops over its windows, in float64."""
    sr_image, hr_image, averaged_image = (image.double().numpy() for image in (sr_image, hr_image, averaged_image))
    residual, averaged = (np.abs(hr_image - image).sum(0) for image in (sr_image, averaged_image))
    padded, weights = np.pad(residual, 3, mode="reflect"), np.zeros(residual.shape)
    for y, x in np.ndindex(*residual.shape):
        if residual[y, x] >= averaged[y, x]:
            weights[y, x] = padded[y : y + 7, x : x + 7].var(ddof=1) * residual.var(ddof=1) ** 0.2
    return (weights * np.abs(sr_image - hr_image)).mean()


def test_the_value_is_that_of_the_formula():
    batch = images()
    values = [expected(*(image[n] for image in batch)) for n in range(2)]
    sr_image, hr_image, averaged_image = batch
    assert loss(sr_image, hr_image, averaged_image).item() == pytest.approx(np.mean(values), rel=1e-4)


def test_only_pixels_that_became_worse_than_the_averaged_weights_learn():
    sr_image, hr_image = images(2)
    worse = sr_image.clone().requires_grad_()
    loss(worse, hr_image, hr_image).backward()
    assert (worse.grad != 0).any()
    better = sr_image.clone().requires_grad_()
    loss(better, hr_image, hr_image + 2).backward()
    assert (better.grad == 0).all()
    assert loss(sr_image, hr_image) == loss(sr_image, hr_image, sr_image)  # validation: the SR image is the averaged one


def test_noise_costs_more_than_an_even_error():
    hr_image = torch.full((1, 3, 32, 32), 0.5)
    even = hr_image + 0.1
    uneven = hr_image + 0.1 * torch.sign(torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))).clamp(min=0)
    assert loss(even, hr_image).item() < 1e-9 < 1e-5 < loss(uneven, hr_image).item()


@pytest.mark.parametrize("size", [(2, 2), (3, 40), (64, 64)])
def test_patches_of_any_size_and_equal_images_have_a_finite_gradient(size):
    hr_image = torch.rand(1, 3, *size)
    for start in (torch.rand(1, 3, *size), hr_image):
        sr_image = start.clone().requires_grad_()
        loss(sr_image, hr_image).backward()
        assert torch.isfinite(sr_image.grad).all()


def test_the_objective_runs_the_averaged_weights_without_a_gradient_and_only_for_this_loss():
    generator = torch.nn.Conv2d(3, 3, 1)
    image = torch.rand(1, 3, 16, 16)
    for name, needed in (("ldl", True), ("l1", False)):
        subject = Objective([LOSSES[name].config(name=name)], "cpu", torch.float32)
        inputs = subject.compare(image, image, image, averaged=generator)
        assert (inputs.averaged_image is not None) == needed
        assert not needed or not inputs.averaged_image.requires_grad
