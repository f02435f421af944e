import math

import pytest
import torch

from srgan.losses.base import LossInputs
from srgan.losses.registry import LOSSES

ADVERSARIAL = ["vanilla", "relativistic", "lsgan", "hinge"]
IMAGE = torch.zeros(1, 3, 4, 4)


def inputs(real, fake):
    """Logits, or features, of the HR and the SR images."""
    fake, real = (value if isinstance(value, tuple) else (value, []) for value in (fake, real))
    return LossInputs(IMAGE, IMAGE, IMAGE, fake=fake, real=real)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_generator_and_discriminator_pull_in_opposite_directions(name):
    torch.manual_seed(0)
    loss = LOSSES[name].factory()
    real, fake = (torch.rand(4, 1, 3, 3).sub(0.5).requires_grad_() for _ in range(2))
    loss.discriminator_loss(inputs(real, fake)).backward()
    assert (real.grad < 0).all()  # raises the logits of real patches
    if name == "lsgan":
        assert torch.equal(fake.grad > 0, fake > 0)  # towards 0
    else:
        assert (fake.grad > 0).all()
    real.grad = fake.grad = None
    loss(inputs(real, fake)).backward()
    assert (fake.grad < 0).all()  # the generator wants its patches to look real
    assert real.grad is None


@pytest.mark.parametrize(
    ("name", "real", "fake", "expected_d", "expected_g"),
    [
        ("vanilla", 0.0, 0.0, math.log(2), math.log(2)),
        ("relativistic", 3.0, 3.0, math.log(2), math.log(2)),
        ("relativistic", 2.0, 0.0, math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))),
        ("lsgan", 1.0, 0.5, 0.125, 0.125),
        ("hinge", 0.5, -0.5, 0.5, 0.5),
        ("hinge", 2.0, -2.0, 0.0, 2.0),
    ],
)
def test_adversarial_losses_have_the_values_of_their_formulas(name, real, fake, expected_d, expected_g):
    loss, logits = LOSSES[name].factory(), inputs(torch.full((2, 1), real), torch.full((2, 1), fake))
    assert loss.discriminator_loss(logits) == pytest.approx(expected_d, abs=1e-6)
    assert loss(logits) == pytest.approx(expected_g, abs=1e-6)


@pytest.mark.parametrize(("name", "middle"), [("vanilla", 0.0), ("relativistic", 7.0), ("lsgan", 0.5), ("hinge", 0.0)])
def test_accuracy_is_the_share_of_correctly_classified_images(name, middle):
    real, fake = torch.tensor([middle + 1, middle - 0.2]), torch.tensor([middle - 1, middle - 1])
    expected = (0.5, 1.0) if name != "relativistic" else (1.0, 1.0)  # above the average of the others
    assert tuple(map(float, LOSSES[name].factory().accuracy(inputs(real, fake)))) == expected


def test_feature_matching_is_zero_for_equal_features_and_grows():
    loss = LOSSES["feature_matching"].factory()
    features = [torch.rand(1, 2, 4, 4), torch.rand(1, 4, 2, 2)]
    assert loss(inputs((IMAGE, features), (IMAGE, features))) == 0
    assert loss(inputs((IMAGE, features), (IMAGE, [feature + 0.5 for feature in features]))) == pytest.approx(0.5)
