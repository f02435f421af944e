import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
            assert torch.equal(value, expected[key]), (step, key)


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
    assert all(torch.equal(value, theirs.module.state_dict()[key]) for key, value in continued.module.state_dict().items())


def test_a_pass_through_the_averaged_weights_changes_no_statistics() -> None:
    ours = MovingAverage(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train(), 0.9)
    ours.module(torch.rand(2, 3, 8, 8))
    assert torch.equal(ours.module[1].running_mean, torch.zeros(4))
