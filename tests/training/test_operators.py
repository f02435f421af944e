"""Rules of a training step on a GPU, counted on a CPU: few kernels, and none for which the host waits."""

import pytest
import torch

from srgan.config import profiles
from srgan.losses.registry import LOSSES
from srgan.models.registry import DISCRIMINATORS, NETWORKS
from tests.helpers.operators import Record
from tests.helpers.small_stages import GAN, everything, make_trainer, params, profile
from tests.models.test_networks import SMALL


def recorded_update(trainer):
    batch = trainer.batch(2, 0.1)
    draws, exception = trainer.stabilizer.draw(2, batch[0].shape[-1]) if trainer.stabilizer else ([], {})
    with Record(trainer.objective.parameters()) as record:
        trainer._update(*batch, *draws, **exception)
    return record


@pytest.mark.parametrize(
    "operation",
    [lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: torch.equal(x, x)],
)
def test_the_record_finds_what_waits(operation):
    with Record() as record:
        operation(torch.zeros(4))
    assert record.waits


def test_the_record_counts_kernels():
    x = torch.zeros(4, 4, requires_grad=True)
    with Record() as record:
        (x.t().reshape(2, 8) * 2 + 1).sum().backward()
    assert record.count == 7, record.operators  # a copy, three operators, their gradients: ones, a product and a copy
    assert not record.waits


@pytest.mark.parametrize("label", SMALL)
def test_no_generator_makes_the_host_wait(label):
    assert not recorded_update(make_trainer(params("pretrain", label=label), "pretrain")).waits


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_no_discriminator_makes_the_host_wait(name, precision):
    options = {"losses": GAN, "discriminator": {"name": name, "features": 4}}
    assert not recorded_update(make_trainer(params("train", precision, **options), "train")).waits


def test_all_networks_have_a_case():
    assert {label.split("-")[0] for label in SMALL} == {name for name, network in NETWORKS.items() if not network.from_weights}


def test_no_loss_and_no_method_makes_the_host_wait():
    found = recorded_update(make_trainer(params("train", **everything(("", "squeezenet"))), "train"))
    assert not found.waits


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.trains_discriminator])
def test_no_adversarial_loss_makes_the_host_wait(name):
    assert not recorded_update(make_trainer(params("train", losses=[{"name": name}]), "train")).waits


@pytest.mark.parametrize(
    ("name", "stage", "depth", "budget"),
    [
        ("srgan-div2k", "pretrain", 16, 450),
        pytest.param("srgan-div2k", "train", 16, 800, marks=pytest.mark.slow),
        pytest.param("esrgan-df2k", "train", 23, 3500, marks=pytest.mark.slow),
    ],
)
def test_a_step_has_few_kernels(name, stage, depth, budget):
    assert profiles.load(name).model.depth == depth
    one, two = (recorded_update(make_trainer(profile(name, stage, blocks), stage)) for blocks in (1, 2))
    found = one.count + (depth - 1) * (two.count - one.count)  # each block has the same operators
    assert found <= budget, (found, one.operators.most_common())
    assert not one.waits
    assert not one.frozen_casts


def test_the_moving_average_has_few_kernels():
    trainer = make_trainer(params("pretrain", label="srresnet"), "pretrain")
    with Record() as record:
        trainer.ema.update()
        trainer.ema.finish_step()
    assert record.count <= 4, record.operators
    assert not record.waits
