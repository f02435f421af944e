# ruff: noqa: F811 - fixtures of another file
import pytest
import torch
from torch import nn

from srgan.config import schema
from srgan.data.sampler import PatchSampler
from srgan.models.registry import build_discriminator, build_generator
from srgan.training.batched_kernels import BatchedKernels
from srgan.training.trainer import Trainer
from tests.data.test_packed_store import make_store
from tests.helpers.project import write_params
from tests.training.test_trainer import world  # noqa: F401 - fixture


def state_after(folder, precision, generator, discriminator):
    """The networks and optimizers after three steps."""
    changes = {f"train.{key}": value for key, value in {"precision": precision, "gradient_accumulation": 2, "batch_size": 4}.items()}
    options = schema.load(write_params(folder, changes))
    torch.manual_seed(0)
    networks = build_generator(scale=4, **generator), build_discriminator(**discriminator)
    subject = Trainer(options.train, options.runtime.train, *networks, PatchSampler(make_store(folder), 4, 32, 0), [])
    for step in (1, 2, 3):
        subject.step(step)
    state = subject.state_dict()
    return {key: state[key] for key in ("generator", "discriminator", "ema", "learners")}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        ({"name": "srresnet", "features": 4, "depth": 1}, {"name": "vgg", "features": 2}),
        ({"name": "span", "features": 4, "reparameterized": True}, {"name": "patch", "features": 4, "depth": 2}),
    ],
)
def test_batched_kernels_change_no_bit(world, monkeypatch, precision, generator, discriminator):
    folder, _ = world
    batched = state_after(folder, precision, generator, discriminator)
    monkeypatch.setattr(BatchedKernels, "within", lambda self, forward: forward)
    usual = state_after(folder, precision, generator, discriminator)
    (left, names), (right, _) = (torch.utils._pytree.tree_flatten(state) for state in (batched, usual))
    for one, other in zip(left, right, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, names


def test_casts_are_shared_within_the_context_alone():
    layer = nn.Conv2d(3, 4, 1)
    kernels = BatchedKernels(layer)
    forward = kernels.within(layer)
    image = torch.rand(1, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with kernels.shared():
            first = forward(image)
            casts = dict(kernels.casts)
            forward(image)
            assert kernels.casts == casts
            assert len(casts) == 2
        assert not kernels.casts
        with torch.no_grad():
            layer.weight.zero_()
        changed = forward(image)
    assert not torch.equal(first, changed)
    assert torch.equal(changed, layer.bias.bfloat16()[:, None, None].expand_as(changed))


def test_frozen_layers_get_no_gradient_and_counters_count_each_pass():
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    layers[0].requires_grad_(False)
    kernels = BatchedKernels(layers)
    with kernels.shared(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            kernels.within(layers)(torch.rand(2, 3, 2, 2)).sum().backward()
    assert layers[1].num_batches_tracked == 3
    assert layers[0].weight.grad is None
    assert layers[2].weight.grad.dtype is torch.float32
