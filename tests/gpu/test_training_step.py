"""Rules of a training step on a GPU, on a pretended device."""

import contextlib

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from srgan.config import profiles, schema
from srgan.losses.registry import LOSSES
from srgan.models.registry import DISCRIMINATORS, NETWORKS
from tests.helpers.fake_gpu import DEVICE, Record, fake_gpu, make_trainer
from tests.models.test_networks import SCALES, SMALL

GAN = [{"name": "l1"}, {"name": "relativistic", "weight": 0.02}]


@pytest.fixture
def device():
    with fake_gpu():
        yield DEVICE


def params(stage, precision, label="compact", **options):
    model, scale = {"name": label.split("-")[0], **SMALL[label]}, SCALES.get(label, (4,))[-1]
    patch = 16 * scale
    stages = {stage: {"precision": precision, "batch_size": 2, "patch_size": patch, "grad_clip": 1.0, "color_jitter": 0.1, **options}}
    return schema.Params.model_validate({"model": model, "prepare": {"scale": scale}, **stages})


def recorded_step(trainer):
    with Record(trainer.objective.parameters()) as record:
        trainer.step(2)
    return record


def cases(names, half=lambda name: True):
    """Every name with every precision. Those of bf16, the precision of GPUs, are not slow."""
    return [
        pytest.param(name, precision, marks=[] if precision == "bf16" else pytest.mark.slow)
        for name in names
        for precision in ("bf16", "fp16", "fp32")
        if precision != "fp16" or half(name)
    ]


def supports_half(label):
    network = NETWORKS[label.split("-")[0]]
    return network.supports_half(network.config(name=network.name, **SMALL[label]))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x[torch.arange(2)],
        lambda x: torch.tensor(0.5, device=x.device),
        lambda x: x.copy_(torch.zeros(4)),
    ],
)
def test_the_record_finds_what_waits(device, operation):
    x = torch.zeros(4, device=device)
    with Record() as record, contextlib.suppress(DynamicOutputShapeException):
        operation(x)
    assert len(record.waits) == 1


def test_the_record_counts_kernels(device):
    x = torch.zeros(4, 4, device=device, requires_grad=True)
    with Record() as record:
        (x.t().reshape(2, 8) * 2 + 1).sum().backward()
    assert record.count == 6, record.operators  # a copy, three operators, the gradient of the product and its ones
    assert not record.waits
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(4)


def test_the_host_may_send_without_waiting(device):
    with Record() as record:
        torch.zeros(4).to(device, non_blocking=True)
    assert (len(record.transfers), record.waits) == (1, [])


@pytest.mark.parametrize(("label", "precision"), cases(SMALL, supports_half))
def test_no_generator_waits_for_the_device(device, label, precision):
    assert not recorded_step(make_trainer(params("pretrain", precision, label), "pretrain")).waits


@pytest.mark.parametrize(("name", "precision"), cases(DISCRIMINATORS))
def test_no_discriminator_waits_for_the_device(device, name, precision):
    found = recorded_step(make_trainer(params("train", precision, losses=GAN, discriminator={"name": name, "features": 4}), "train"))
    assert not found.waits


def test_all_networks_have_a_case():
    assert {label.split("-")[0] for label in SMALL} == {name for name, network in NETWORKS.items() if not network.from_weights}


def everything(pretrained):
    """All losses and all methods of stabilization, in one stage."""
    adversarial = [name for name, loss in LOSSES.items() if loss.trains_discriminator]
    losses = [{"name": name} for name in LOSSES if name not in adversarial[1:] and LOSSES[name].pretrained in pretrained]
    stabilization = {"pause_above": 0.9, "noise": 0.1, "augment_target": 0.6, "r1": 1.0, "r2": 1.0, "penalty_every": 2}
    discriminator = {"name": "patch", "features": 4, "condition": True}
    return {"losses": losses, "stabilization": stabilization, "discriminator": discriminator, "cutmix": 0.5, "gradient_accumulation": 2}


@pytest.mark.parametrize("pretrained", [("", "vgg19"), pytest.param(("", "vgg19", "squeezenet", "alexnet"), marks=pytest.mark.slow)])
def test_no_loss_and_no_method_waits_for_the_device(device, pretrained):
    trainer = make_trainer(params("train", "bf16", **everything(pretrained)), "train")
    found = recorded_step(trainer)
    assert not found.waits
    assert not found.frozen_casts


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.trains_discriminator])
def test_no_adversarial_loss_waits_for_the_device(device, name):
    trainer = make_trainer(params("train", "bf16", losses=[{"name": name}]), "train")
    assert not recorded_step(trainer).waits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_can_contain_the_update(device, precision):
    trainer = make_trainer(params("train", precision, losses=GAN, discriminator={"name": "vgg", "features": 4}), "train")
    batch = trainer.batch(2, 0.1)
    with Record() as record:
        trainer._update(*batch)
    assert not record.transfers
    assert not record.waits


def profile(name, stage, depth):
    """The stage of a profile with a generator of this depth."""
    found = profiles.load(name)
    batch = getattr(found, stage).model_copy(update={"precision": "bf16"})
    return found.model_copy(update={"model": found.model.model_copy(update={"depth": depth}), stage: batch})


@pytest.mark.parametrize(
    ("name", "stage", "depth", "budget"),
    [("srgan-div2k", "pretrain", 16, 450), ("srgan-div2k", "train", 16, 800), ("esrgan-df2k", "train", 23, 3500)],
)
def test_a_step_has_few_operators(device, name, stage, depth, budget):
    assert profiles.load(name).model.depth == depth
    one, two = (recorded_step(make_trainer(profile(name, stage, blocks), stage)) for blocks in (1, 2))
    found = one.count + (depth - 1) * (two.count - one.count)  # each block has the same operators
    assert found <= budget, one.operators
    assert not one.waits
    assert not one.frozen_casts


def test_the_moving_average_has_few_operators(device):
    trainer = make_trainer(params("pretrain", "bf16", "srresnet"), "pretrain")
    with Record() as record:
        trainer.ema.update()
        trainer.ema.finish_step()
    assert record.count <= 4, record.operators
    assert not record.waits
