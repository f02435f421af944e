"""L2-SP: the pull of the weights towards those at the start."""

# ruff: noqa: F811 - fixtures of another file
import pytest
import torch
from pydantic import ValidationError

from srgan.config.training import Pretrain
from srgan.models.registry import build_generator
from srgan.training.optimization import OptimizedNetwork
from tests.training.test_trainer import equal, fit, interrupt, trainer, world  # noqa: F401 - fixtures

ANCHORED = {"pretrain.anchor": 50.0, "pretrain.learning_rate": 1e-3}


def subject(**options):
    torch.manual_seed(0)
    return OptimizedNetwork(build_generator("compact", scale=2, features=8, depth=1), 1e-2, 1, torch.float32, **options)


def displaced(network):
    """Move all weights by 1 and give them gradients of 0, which Adam does not follow."""
    for parameter in network.parameters:
        parameter.data += 1
        parameter.grad = torch.zeros_like(parameter)


@pytest.mark.parametrize("graphed", [False, True])
def test_each_step_goes_back_a_share_of_the_distance(graphed):
    network = subject(anchor=10.0, graphed=graphed)
    network.optimizer = torch.optim.SGD(network.optimizer.param_groups)  # Adam with a rate in a tensor needs a GPU
    displaced(network)
    for expected in (0.9, 0.81):  # 1 - 10 * 0.01
        network.set_learning_rate(1e-2)
        network.finish_step(0)
        for parameter, start in zip(network.parameters, network.start, strict=True):
            assert torch.allclose(parameter - start, torch.full_like(start, expected), atol=1e-5)


def test_slow_layers_are_pulled_slowly():
    network = subject(anchor=10.0, first_layer_rate=0.1)
    displaced(network)
    network.set_learning_rate(1e-2)
    network.finish_step(0)
    first, last = ((network.parameters[i] - network.start[i]).mean().item() for i in (0, -1))
    assert first == pytest.approx(0.99)
    assert last == pytest.approx(0.9)


def test_without_an_anchor_nothing_pulls_and_no_weights_are_kept():
    network = subject()
    displaced(network)
    before = [parameter.clone() for parameter in network.parameters]
    network.finish_step(0)
    assert network.start == []
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters, strict=True))


def test_an_anchored_training_stays_nearer_to_its_start(world):
    start = trainer(world, "pretrain").generator.state_dict()

    def distance(folder, changes):
        trained = fit(world, "pretrain", folder, {"pretrain.ema": 0.0, "pretrain.steps": 12} | changes).state_dict()
        return sum((trained[key] - value).square().sum().item() for key, value in start.items())

    assert distance("anchored", ANCHORED) < 0.9 * distance("free", ANCHORED | {"pretrain.anchor": 0.0})


def test_a_resumed_run_is_pulled_to_the_same_start(world):
    expected = fit(world, "pretrain", "straight", ANCHORED)
    interrupt(trainer(world, "pretrain", ANCHORED), world[0] / "broken", 2)
    assert equal(fit(world, "pretrain", "broken", ANCHORED), expected)


def test_averaged_weights_have_no_anchor():
    with pytest.raises(ValidationError, match="does not fit schedule_free"):
        Pretrain.model_validate({"anchor": 1.0, "optimizer": {"name": "schedule_free"}, "schedule": {"name": "constant"}})
