# ruff: noqa: F811 - fixtures of another file
import sys

import pytest
import torch
from torch import nn

from srgan.config.choice import entries
from srgan.config.networks import NETWORKS
from srgan.config.optimizers import AdamW, Muon, ScheduleFree
from srgan.config.training import Pretrain
from srgan.models.registry import build_generator
from srgan.training.checkpoint import State
from srgan.training.continuation import check
from srgan.training.cuda_graph import obstacle
from srgan.training.optimization import OptimizedNetwork
from srgan.training.optimizers import inner_weights
from srgan.utils.errors import SrganError
from tests.training.test_trainer import equal, fit, interrupt, moved, trainer, weights, world  # noqa: F401 - fixtures

FREE = {"pretrain.optimizer": {"name": "schedule_free"}, "pretrain.schedule": {"name": "constant", "warmup": 2}}
MUON = {"pretrain.optimizer": {"name": "muon"}, "pretrain.learning_rate": 1e-3}


def network():
    torch.manual_seed(0)
    return build_generator("compact", scale=2, features=8, depth=2)


def steps(network, optimizer, count, seen=lambda subject: None):
    """Train on random gradients. Returns the network with its optimizer."""
    subject = OptimizedNetwork(network, 1e-2, 1, torch.float32, optimizer=optimizer)
    for number in range(count):
        torch.manual_seed(number)
        for parameter in subject.parameters:
            parameter.grad = torch.randn_like(parameter)
        subject.finish_step(0)
        seen(subject)
    return subject


def test_adam_is_that_of_former_versions():
    optimizer = OptimizedNetwork(network(), 1e-3, 1, torch.float32).optimizer
    (group,) = optimizer.param_groups
    assert (type(optimizer), group["betas"], group["weight_decay"], group["lr"]) == (torch.optim.Adam, (0.9, 0.99), 0, 1e-3)


@pytest.mark.parametrize("options", [AdamW(name="adamw"), ScheduleFree(name="schedule_free", weight_decay=0.1), Muon(name="muon")])
def test_each_parameter_is_in_one_group_and_biases_and_slopes_do_not_decay(options):
    model = network()
    groups = OptimizedNetwork(model, 1e-3, 1, torch.float32, optimizer=options).optimizer.param_groups
    assert sorted(map(id, model.parameters())) == sorted(id(parameter) for group in groups for parameter in group["params"])
    for group in groups:
        assert group["lr"] == 1e-3
        assert group["weight_decay"] == (options.weight_decay if group["params"][0].ndim > 1 else 0)


def test_muon_updates_inner_weights_by_matrices_of_equal_singular_values():
    model = network()
    inner = inner_weights(model)
    assert [weight is model.body[number].weight for weight, number in zip(inner, (2, 4), strict=True)] == [True, True]
    before = inner[0].detach().clone()
    bias = model.body[2].bias.detach().clone()
    steps(model, Muon(name="muon"), 1)
    values = torch.linalg.svdvals((inner[0] - before).flatten(1))
    assert values.max() < 1.8 * values.min()  # five iterations bring them near to each other
    assert (inner[0] - before).detach().square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.2)  # of the learning rate
    assert torch.allclose((model.body[2].bias - bias).abs(), torch.tensor(1e-2))  # the first step of Adam


def test_muon_computes_in_float32_on_a_cpu(monkeypatch):
    matrix = pytest.importorskip("pytorch_optimizer.optimizer.utils.matrix")
    seen, function = [], matrix.zero_power_via_newton_schulz_5
    monkeypatch.setattr(matrix, function.__name__, lambda *given, **options: seen.append(options["dtype"]) or function(*given, **options))
    steps(network(), Muon(name="muon"), 1)
    assert seen == [torch.float32, torch.float32]


@pytest.mark.parametrize("name", [entry.name for entry in entries(NETWORKS) if not entry.from_weights])
def test_muon_finds_matrices_in_each_network(name):
    scale = min(entry.scales[0] for entry in entries(NETWORKS) if entry.name == name)
    with torch.device("meta"):
        found = inner_weights(build_generator(name, scale=scale))
    assert found
    assert all(weight.ndim in (2, 4) for weight in found)


def test_schedule_free_validates_the_mean_of_the_points_that_it_moves():
    points, model = [], network()

    def see(subject):
        points.append([subject.optimizer.state[parameter]["z"].clone() for parameter in subject.parameters])
        trained = weights(model)
        with subject.evaluated():
            for parameter, *passed in zip(subject.parameters, *points, strict=True):
                assert torch.allclose(parameter, torch.stack(passed).mean(0), atol=1e-6)
            assert moved(model, trained) == (len(points) > 1)
        assert not moved(model, trained)  # bit for bit

    steps(model, ScheduleFree(name="schedule_free"), 4, see)


@pytest.mark.parametrize("changes", [FREE, MUON], ids=["schedule_free", "muon"])
def test_an_interrupted_run_resumes_in_the_same_weights(world, changes):
    expected = fit(world, "pretrain", "straight", changes)
    interrupt(trainer(world, "pretrain", changes), world[0] / "broken", 3)
    assert equal(fit(world, "pretrain", "broken", changes), expected)


def test_schedule_free_averages_what_is_exported(world):
    subject = trainer(world, "pretrain", FREE | {"pretrain.ema": 0.0})
    for step in (1, 2, 3):
        subject.step(step)
    assert not equal(subject.ema.module, subject.generator)
    with subject.networks["generator"].evaluated():
        assert equal(subject.ema.module, subject.generator)


def test_the_discriminator_keeps_adam(world):
    subject = trainer(world, "train", {"train.optimizer": {"name": "adamw"}})
    kinds = {name: type(network.optimizer).__name__ for name, network in subject.networks.items()}
    assert kinds == {"generator": "AdamW", "discriminator": "Adam"}


def test_schedule_free_refuses_batch_normalization():
    with pytest.raises(SrganError, match="Choose adamw or a network without batch normalization"):
        steps(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), ScheduleFree(name="schedule_free"), 0)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    steps(network(), AdamW(name="adamw"), 1)  # of torch
    with pytest.raises(SrganError, match=r"optimizer: muon needs an optional package .* pip install 'srgan\[optimizers\]'"):
        steps(network(), Muon(name="muon"), 1)


def test_optimizers_that_count_in_python_are_not_captured():
    reasons = {}
    for options in (AdamW(name="adamw"), Muon(name="muon")):
        reasons[options.name] = obstacle(torch.device("cuda"), Pretrain(optimizer=options))
    assert reasons == {"adamw": "", "muon": "the optimizer muon counts its steps outside of the device"}


def test_a_training_does_not_continue_with_another_optimizer(tmp_path):
    def about(steps, **options):
        return {"options": {"steps": steps} | options, "inputs": [], "lineage": []}

    former = State(tmp_path, "0" * 12, 5, about(5))  # of a version that had Adam alone
    assert "steps" in check(former, about(9, **{"optimizer.name": "adam"}), "pretrain")
    with pytest.raises(SrganError, match=r"is of another optimizer \(optimizer.name adam -> muon\)"):
        check(former, about(9, **{"optimizer.name": "muon"}), "pretrain")
