import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from srgan.training.ema import MovingAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    model[3].to(torch.bfloat16)
    model.register_buffer("table", torch.arange(6).reshape(2, 3))
    return model


def change(model: nn.Module, step: int) -> None:
    torch.manual_seed(step)
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            value += torch.randn(value.shape).to(value.dtype) if value.is_floating_point() else torch.randint(0, 50, value.shape)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_equals_that_of_torch_bit_for_bit(decay: float) -> None:
    model = network()
    ours, theirs = MovingAverage(model, decay), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for step in range(20):
        change(model, step)
        ours.update()
        ours.n_averaged += 1
        theirs.update_parameters(model)
        expected = theirs.state_dict()
        assert list(ours.state_dict()) == list(expected)
        for key, value in ours.state_dict().items():
            assert value.dtype == expected[key].dtype
            if value.is_floating_point():
                assert torch.equal(value, expected[key]), (step, key)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99, 0.9999])
def test_integers_are_those_of_the_network(decay: float) -> None:
    """The table of SwinIR's relative positions must not change: the average of 3 and 3 is 2.9999998 for some decays."""
    model = nn.Sequential(nn.BatchNorm2d(3))
    model.register_buffer("table", torch.arange(225))
    ours = MovingAverage(model, decay)
    for _ in range(5):
        model(torch.rand(2, 3, 4, 4))
        ours.update()
        ours.n_averaged += 1
        assert torch.equal(ours.module.table, torch.arange(225))
        assert ours.module[0].num_batches_tracked == model[0].num_batches_tracked


def test_an_update_takes_one_operator_for_each_type_and_reads_nothing_from_the_device() -> None:
    model = network()
    ours = MovingAverage(model, 0.9)
    for _ in range(2):
        with Operators() as operators:
            ours.update()
    assert sorted(operators.names) == ["_foreach_copy_", "_foreach_lerp_", "_foreach_lerp_"]  # integers, float32, bfloat16


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_checkpoint_of_torchs_class_continues() -> None:
    model = network()
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step in range(3):
        change(model, step)
        theirs.update_parameters(model)
    ours = MovingAverage(network(), 0.9)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    continued = MovingAverage(model, 0.9)
    continued.load_state_dict(ours.state_dict())
    change(model, 3)
    theirs.update_parameters(model)
    continued.update()
    for key, value in continued.module.state_dict().items():
        assert torch.equal(value, (theirs.module if value.is_floating_point() else model).state_dict()[key])


def test_a_pass_through_the_averaged_weights_changes_no_statistics() -> None:
    ours = MovingAverage(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train(), 0.9)
    ours.module(torch.rand(2, 3, 8, 8))
    assert torch.equal(ours.module[1].running_mean, torch.zeros(4))
