import pytest
import torch
from torch.nn import functional

from srgan.models.checkpoints import load_pretrained, save_generator
from srgan.models.registry import NETWORKS, build_generator
from srgan.utils.errors import SrganError


def trained(name, **config):
    """A network whose weights differ from initial ones everywhere."""
    torch.manual_seed(1)
    model = build_generator(name, **config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return model


def start(tmp_path, found, model):
    path = tmp_path / "start.safetensors"
    save_generator(path, found, {})
    return load_pretrained(path, model)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("compact", {"features": 4, "depth": 2}),
        ("span", {"features": 4}),
        ("realplksr", {"features": 8, "depth": 1, "kernel": 3}),
        ("swinir", {"features": 4, "groups": 1, "depth": 1, "heads": 2, "window": 4}),
    ],
)
def test_another_scale_starts_as_the_reduced_or_enlarged_result(tmp_path, name, config):
    four, two = trained(name, scale=4, **config), build_generator(name, scale=2, **config).eval()
    image = torch.rand(1, 3, 7, 6)
    done = start(tmp_path, four, two)
    assert not done.new
    assert len(done.adapted) == 2
    assert torch.allclose(two(image), functional.avg_pool2d(four(image), 2), atol=1e-5)
    eight = build_generator(name, scale=8, **config).eval()
    start(tmp_path, four, eight)
    assert torch.allclose(eight(image), functional.interpolate(four(image), scale_factor=2, mode="nearest"), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "config", "new"),
    [("rrdb", {"features": 4, "growth": 2, "depth": 1}, "conv_up_x3"), ("srresnet", {"features": 4, "depth": 1}, "up.0.pixelshuffle3")],
)
def test_layers_without_a_counterpart_are_new_and_named(tmp_path, name, config, new):
    four, three = trained(name, scale=4, **config), build_generator(name, scale=3, **config)
    done = start(tmp_path, four, three)
    assert f"{new}.weight" in done.new
    assert f"new: {new}.weight" in str(done)
    theirs, ours = dict(four.named_parameters()), dict(three.named_parameters())
    assert all(torch.equal(theirs[key], ours[key]) for key in ours if key not in done.new)
    assert all(key.startswith(three.tail_layers) for key in done.new)


def test_equal_networks_get_all_weights(tmp_path):
    found, model = trained("srresnet", scale=2, features=4, depth=1), build_generator("srresnet", scale=2, features=4, depth=1)
    assert str(start(tmp_path, found, model)) == "srresnet x2, 21 of 21 weights copied"
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if not network.from_weights])
def test_another_width_is_refused_with_the_options_to_set(tmp_path, name):
    wide, scale = "width" if name == "nafnet" else "features", NETWORKS[name].scales[-1]
    small = {"depth": 1} if "depth" in NETWORKS[name].config.model_fields else {}
    model = build_generator(name, scale=scale, **small, **{wide: 48})  # some need a multiple of 6 or 8
    with pytest.raises(SrganError, match=rf"To start from this file set model.{wide}: 24\. To start without it"):
        start(tmp_path, build_generator(name, scale=scale, **small, **{wide: 24}), model)


def test_another_network_is_refused_with_its_name(tmp_path):
    with pytest.raises(SrganError, match=r"holds srcnn .* but params.yaml names compact .* Set model.name: srcnn"):
        start(tmp_path, build_generator("srcnn", scale=2, features=4), build_generator("compact", scale=2, features=4, depth=1))


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if not network.from_weights])
def test_every_network_has_a_tail(name):
    small = {"depth": 1} if "depth" in NETWORKS[name].config.model_fields else {}
    model = build_generator(name, scale=NETWORKS[name].scales[-1], **small)
    inside = [key for key, _ in model.named_parameters() if any(key.startswith(f"{layer}.") for layer in model.tail_layers)]
    assert 0 < len(inside) < len(list(model.parameters()))
