import numpy as np
import pytest
import torch

from srgan.training.augmentation import DRAWS, GATES, augment

ALWAYS, NEVER = torch.tensor(1.0), torch.tensor(0.0)
SYMMETRY, DOWN, RIGHT, BRIGHTNESS, CONTRAST, SATURATION = range(GATES, DRAWS)
CENTRE = 0.5  # a draw that changes nothing, except for the symmetry


def image(side=16, channels=3):
    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))


def draws(**values):
    """Draws that leave an image as it is, except for these."""
    found = torch.full((1, DRAWS), CENTRE)
    found[:, :GATES], found[:, SYMMETRY] = 0.0, 0.0
    for name, value in values.items():
        found[:, globals()[name.upper()]] = value
    return found


def test_nothing_changes_at_probability_0_and_in_the_centre():
    assert torch.allclose(augment(image(), torch.rand(1, DRAWS), NEVER), image(), atol=1e-6)
    assert torch.allclose(augment(image(), draws(), ALWAYS), image(), atol=1e-6)


@pytest.mark.parametrize("number", range(8))
def test_the_symmetries_are_the_eight_of_a_square(number):
    found = augment(image(), draws(symmetry=(number + 0.5) / 8), ALWAYS)[0].numpy()
    turned = [np.rot90(flipped, turns, (1, 2)) for flipped in (image()[0].numpy(), image()[0].numpy()[:, :, ::-1]) for turns in range(4)]
    assert sum(np.allclose(found, other, atol=1e-6) for other in turned) == 1
    assert number == 0 or not np.allclose(found, image()[0], atol=1e-3)


def test_a_shift_moves_the_image_by_whole_pixels_with_reflected_borders():
    found = augment(image(), draws(down=0.9999, right=0.0), ALWAYS)[0].numpy()  # 2 down, 2 left
    expected = np.pad(image()[0].numpy(), ((0, 0), (2, 0), (0, 2)), mode="reflect")[:, :16, 2:]
    assert np.allclose(found, expected, atol=1e-6)


def test_colours_change_by_the_documented_amounts():
    start = image()
    assert torch.allclose(augment(start, draws(brightness=1.0), ALWAYS), start + 0.2, atol=1e-6)
    assert torch.allclose(augment(start, draws(contrast=1.0), ALWAYS), (start - 0.5) * 2**0.5 + 0.5, atol=1e-6)
    gray = start.mean(1, keepdim=True)
    assert torch.allclose(augment(start, draws(saturation=0.0), ALWAYS), (start + gray) / 2, atol=1e-6)


def test_equal_draws_change_both_images_and_the_condition_alike_and_each_operation_has_its_own_gate():
    numbers = torch.rand(4, DRAWS, generator=torch.Generator().manual_seed(1))
    batch = torch.rand(4, 3, 16, 16)
    both = augment(torch.cat([batch, batch], 1), numbers, torch.tensor(0.6))
    assert torch.equal(both[:, :3], both[:, 3:])
    assert torch.equal(both[:, :3], augment(batch, numbers, torch.tensor(0.6)))
    numbers[:, 0] = 0.7  # above the probability: no symmetry
    other = numbers.clone()
    other[:, SYMMETRY] = torch.rand(4)
    assert torch.equal(augment(batch, numbers, torch.tensor(0.6)), augment(batch, other, torch.tensor(0.6)))


def test_first_and_second_derivatives_reach_every_pixel():
    start = image(side=8).double().requires_grad_()
    numbers = torch.rand(1, DRAWS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(lambda pixels: augment(pixels, numbers, ALWAYS)[..., ::3, ::3], start)
    (gradient,) = torch.autograd.grad(augment(start, numbers, ALWAYS).pow(3).sum(), start, create_graph=True)
    (second,) = torch.autograd.grad(gradient.pow(2).sum(), start)
    assert torch.isfinite(second).all()
    assert (second != 0).any()
