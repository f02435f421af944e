import copy

import pytest
import torch

from srgan.losses.adversarial import AdversarialLoss
from srgan.losses.registry import LOSSES
from srgan.models.registry import build_discriminator, build_generator
from srgan.training.objectives import Objective
from srgan.training.validation import LOSS_TILE, Validation

CPU = torch.device("cpu")
PIXEL = LOSSES["l1"].config(name="l1", weight=0.5)


ADVERSARIAL = [name for name, loss in LOSSES.items() if loss.trains_discriminator]


def objective(*losses, dtype=torch.float32, condition=False):
    return Objective(losses, "cpu", dtype, trained=False, condition=condition)


def gradients(network):
    return [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("name", LOSSES)
def test_each_registered_loss_moves_the_weights_it_should_and_no_others(name):
    torch.manual_seed(0)
    generator = build_generator("compact", scale=4, features=8, depth=1)
    discriminator = build_discriminator("patch", features=4, depth=2)
    subject = objective(LOSSES[name].config(name=name, weight=1.0))
    frozen = copy.deepcopy(subject.state_dict())
    lr_image, hr_image = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32, requires_grad=True)
    judge = discriminator if LOSSES[name].needs_discriminator else None
    inputs = subject.compare(generator(lr_image), hr_image, lr_image, judge)
    subject.total(subject.terms(inputs)).backward(inputs=list(generator.parameters()), retain_graph=True)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients(generator))
    assert any(gradient.abs().sum() > 0 for gradient in gradients(generator))
    assert gradients(discriminator) == [None] * len(gradients(discriminator))
    before = [gradient.clone() for gradient in gradients(generator)]
    if isinstance(subject.adversarial, AdversarialLoss):
        subject.adversarial.discriminator_loss(inputs).backward(inputs=list(discriminator.parameters()))
        assert any(gradient.abs().sum() > 0 for gradient in gradients(discriminator))
        assert all(map(torch.equal, gradients(generator), before))
    assert all(torch.equal(value, frozen[key]) for key, value in subject.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.parameters())


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("kind", ["patch", "unet"])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_conditional_discriminator_also_sees_the_input(name, kind, scale):
    torch.manual_seed(0)
    discriminator = build_discriminator(kind, features=4, condition=True)
    subject = objective(PIXEL, LOSSES[name].config(name=name), LOSSES["feature_matching"].config(name="feature_matching"), condition=True)
    sr_image, hr_image = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    lr_image = torch.rand(2, 3, 32 // scale, 32 // scale)
    inputs = subject.compare(sr_image, hr_image, lr_image, discriminator)
    other = subject.compare(sr_image, hr_image, 1 - lr_image, discriminator)
    assert not torch.allclose(inputs.real[0], other.real[0])
    assert not torch.allclose(inputs.fake[0], other.fake[0])
    subject.adversarial.discriminator_loss(inputs).backward(retain_graph=True)
    first = next(discriminator.parameters())
    assert first.shape[1] == 6
    assert (first.grad.abs().sum(dim=(0, 2, 3)) > 0).all()  # learns from all six channels
    subject.total(subject.terms(inputs)).backward()
    assert sr_image.grad.abs().sum() > 0
    loss, pixel = subject.validate(sr_image, hr_image, lr_image, discriminator)
    assert loss > 0.5 * pixel > 0


def test_the_total_is_the_weighted_sum_of_the_terms():
    images = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), torch.rand(1, 3, 4, 4)
    subject = objective(PIXEL, LOSSES["tv"].config(name="tv", weight=0.25), LOSSES["mse"].config(name="mse", weight=0.0))
    terms = subject.terms(subject.compare(*images))
    assert list(terms) == ["l1", "tv"]  # weight 0 turns a loss off
    assert subject.total(terms) == pytest.approx(0.5 * float(terms["l1"]) + 0.25 * float(terms["tv"]))
    assert subject.validate(*images) == pytest.approx((float(subject.total(terms)), float(terms["l1"])))


def test_a_list_without_a_pixel_loss_measures_l1_and_does_not_learn_from_it():
    subject = objective(LOSSES["tv"].config(name="tv"))
    image = torch.rand(1, 3, 16, 16)
    terms = subject.terms(subject.compare(image, image + 0.5, image))
    assert terms["l1"] == pytest.approx(0.5)
    assert subject.total(terms) == terms["tv"]


def test_only_networks_compute_in_half_precision():
    subject = objective(PIXEL, LOSSES["vgg19"].config(name="vgg19"), dtype=torch.bfloat16)
    image = torch.rand(1, 3, 32, 32)
    assert {term.dtype for term in subject.terms(subject.compare(image, image * 0.5, image)).values()} == {torch.float32}


@pytest.mark.parametrize("name", ["ms_ssim", "focal_frequency", "ldl"])
def test_a_loss_of_bfloat16_images_is_computed_in_float32(name):
    whole, half = objective(LOSSES[name].config(name=name)), objective(LOSSES[name].config(name=name), dtype=torch.bfloat16)
    sr_image, hr_image = torch.rand(2, 3, 64, 64).bfloat16(), torch.rand(2, 3, 64, 64)
    with half.autocast():  # as the generator runs
        value = half.terms(half.compare(sr_image, hr_image, hr_image))[name]
    assert value.dtype is torch.float32
    assert torch.equal(value, whole.terms(whole.compare(sr_image.float(), hr_image, hr_image))[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_networks_of_a_validation_compute_in_the_precision_of_the_training(dtype):
    networks = objective(*(LOSSES[name].config(name=name) for name in ("vgg19", "hinge")), dtype=dtype)
    found = set()
    discriminator = build_discriminator("unet", features=4)
    for network in (discriminator, networks.losses["vgg19"]):
        layer = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
        layer.register_forward_hook(lambda module, inputs, output: found.add(output.dtype))
    images = (torch.rand(1, 3, side, side) for side in (32, 32, 8))
    networks.validate(*images, discriminator)
    assert found == {dtype}


def test_the_validation_loss_compares_tiles_of_bounded_size_that_cover_the_image():
    shapes, total = [], 0.0
    lr_image = torch.randint(0, 256, (150, 70, 3), dtype=torch.uint8).numpy()
    sr_image, hr_image = (torch.randint(0, 256, (600, 280, 3), dtype=torch.uint8).numpy() for _ in range(2))

    def loss(sr, hr, lr):
        shapes.append(tuple(sr.shape[2:]))
        assert tuple(4 * side for side in lr.shape[2:]) == tuple(sr.shape[2:])
        return (sr - hr).abs().mean().item(), 1.0

    total, one = Validation(4, CPU, {})._loss_by_tiles(loss, sr_image, hr_image, lr_image)
    assert len(shapes) == 3 * 2
    assert max(max(shape) for shape in shapes) <= LOSS_TILE
    assert sum(height * width for height, width in shapes) == 600 * 280
    assert total == pytest.approx(float(abs(sr_image.astype(float) - hr_image).mean() / 255), rel=1e-5)
    assert one == pytest.approx(1)
    shapes.clear()
    Validation(4, CPU, {})._loss_by_tiles(loss, sr_image[:256, :200], hr_image[:256, :200], lr_image[:64, :50])
    assert shapes == [(256, 200)]  # one tile: the value of the whole image
