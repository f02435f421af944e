"""Tests of `srgan.models.layers`."""

import pytest
import torch
from torch import nn

from srgan.models.layers import PReLU


def gradients(layer: nn.PReLU, features: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    """Return the output and the gradients of the features and of the slopes."""
    features = features.clone().requires_grad_()
    out = layer(features)
    return [out.detach(), *torch.autograd.grad(out, [features, layer.weight], upstream)]


@pytest.mark.parametrize("slopes", [1, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_prelu_has_the_gradients_of_pytorch(slopes: int, dtype: torch.dtype, tolerance: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    features, upstream = (torch.randn(3, 8, 9, 7).to(dtype).to(memory_format=layout) for _ in range(2))
    features[0, :, 0] = 0  # a slope does not act on 0
    ours, theirs = PReLU(slopes), nn.PReLU(slopes)
    with torch.no_grad():
        ours.weight.copy_(torch.linspace(-0.3, 0.9, slopes))
        theirs.weight.copy_(ours.weight.to(dtype).float())
    expected = gradients(theirs, features.float(), upstream.float())
    for value, wanted in zip(gradients(ours, features, upstream), expected, strict=True):
        assert (value.float() - wanted).abs().max() <= tolerance * wanted.abs().max()
    assert gradients(ours, features, upstream)[2].dtype == torch.float32


def test_prelu_trains_frozen_slopes_and_only_slopes() -> None:
    layer, features = PReLU(), torch.tensor([[-2.0, 3.0]])
    (slope,) = torch.autograd.grad(layer(features).sum(), [layer.weight])
    assert slope.item() == -2
    layer.weight.requires_grad_(False)
    features.requires_grad_()
    assert torch.autograd.grad(layer(features).sum(), [features])[0].tolist() == [[0.25, 1.0]]
