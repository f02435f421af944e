"""Rules of a training step on a GPU, counted on a CPU: few kernels, and none for which the host waits."""

import json
import tempfile

import pytest
import torch

from srgan.config import profiles, schema
from srgan.losses.registry import LOSSES
from srgan.models.registry import DISCRIMINATORS, NETWORKS
from srgan.tuning import estimate
from tests.helpers.operators import Record
from tests.models.test_networks import SCALES, SMALL

GAN = [{"name": "l1"}, {"name": "relativistic", "weight": 0.02}]


def params(stage, precision="bf16", label="compact", **options):
    model, scale = {"name": label.split("-")[0], **SMALL[label]}, SCALES.get(label, (4,))[-1]
    stages = {stage: {"precision": precision, "batch_size": 2, "patch_size": 16 * scale, "grad_clip": 1.0, "color_jitter": 0.1, **options}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"model": model, "prepare": {"scale": scale}, **stages}, file)
        file.flush()
        return schema.load(file.name, warn=False)


def make_trainer(params, stage):
    """Return a trainer after the step in which the optimizers make their state."""
    trainer = estimate._trainer(params, stage)
    trainer.step(1)
    return trainer


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


def everything(pretrained):
    """All losses and all methods of stabilization, in one stage."""
    adversarial = [name for name, loss in LOSSES.items() if loss.trains_discriminator]
    losses = [{"name": name} for name in LOSSES if name not in adversarial[1:] and LOSSES[name].pretrained in pretrained]
    stabilization = {"pause_above": 0.9, "noise": 0.1, "augment_target": 0.6, "r1": 1.0, "r2": 1.0, "penalty_every": 2}
    discriminator = {"name": "patch", "features": 4, "condition": True}
    return {"losses": losses, "stabilization": stabilization, "discriminator": discriminator, "cutmix": 0.5, "gradient_accumulation": 2}


def test_no_loss_and_no_method_makes_the_host_wait():
    found = recorded_update(make_trainer(params("train", **everything(("", "squeezenet"))), "train"))
    assert not found.waits


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.trains_discriminator])
def test_no_adversarial_loss_makes_the_host_wait(name):
    assert not recorded_update(make_trainer(params("train", losses=[{"name": name}]), "train")).waits


def profile(name, stage, depth):
    """The stage of a profile in bf16 with a generator of this depth. Few channels and small patches need as many kernels as large ones."""
    found = profiles.load(name)
    options = getattr(found, stage)
    small = {"precision": "bf16", "batch_size": 2, "patch_size": 32}
    if stage == "train":
        small["discriminator"] = options.discriminator.model_copy(update={"features": 4})
    model = found.model.model_copy(update={"depth": depth, "features": 8})
    return found.model_copy(update={"model": model, stage: options.model_copy(update=small)})


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
