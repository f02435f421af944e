import pytest
import torch

from srgan.models.checkpoints import from_state_dict
from srgan.models.registry import DISCRIMINATORS, NETWORKS, architecture_of, build_discriminator, discriminators_table, networks_table
from tests.helpers.project import ROOT

NETWORK_OPTIONS = {  # small ones
    "compact": [{"features": 8, "depth": 1}, {"features": 3, "depth": 0}, {"features": 8, "depth": 1, "unshuffle": 2}],
    "srresnet": [{"features": 8, "depth": 1, "upsampling": kind} for kind in ("pixelshuffle", "nearest", "transposed")],
    "rrdb": [{"features": 8, "growth": 4, "depth": 1}],
    "srcnn": [{"features": 8}],
    "nafnet": [
        {"width": 4, "encoder_blocks": (1, 0), "middle_blocks": 1, "decoder_blocks": (2, 1)},
        {"width": 4, "encoder_blocks": (1,), "middle_blocks": 2, "decoder_blocks": (1,), "unshuffle": 4},
    ],
    "span": [{"features": 4}, {"features": 4, "norm": True, "reparameterized": True}],
    "realplksr": [
        {"features": 8, "depth": 1, "kernel": 3, "normalization": normalization, "upsampling": upsampling}
        for normalization, upsampling in (("layer", "pixelshuffle"), ("group", "dysample"))
    ],
    "swinir": [{"features": 6, "groups": 2, "depth": 1, "heads": 3, "window": 4}],
}
OWN = {name: network for name, network in NETWORKS.items() if not network.from_weights}
BUILDS = [(name, {"scale": scale} | options) for name, network in NETWORKS.items() for scale in network.scales
          for options in NETWORK_OPTIONS.get(name, [{}])
          if scale > 1 or options.get("upsampling", "pixelshuffle") == "pixelshuffle"]  # fmt: skip


@pytest.mark.parametrize(("name", "config"), BUILDS, ids=str)
def test_the_weights_of_a_network_are_recognised_by_that_network_alone(name, config):
    state = NETWORKS[name].factory(**config).state_dict()
    assert {other: network.detect(state) for other, network in OWN.items()} == dict.fromkeys(OWN) | {name: config}
    model = from_state_dict(state, "x.safetensors")
    assert architecture_of(model) == (name, config)
    options = NETWORKS[name].config(name=name, **{key: value for key, value in config.items() if key != "scale"})
    assert NETWORKS[name].patch_multiple(options) == model.multiple_of


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg", {}),
        ("unet", {"condition": False}),
        ("unet", {"condition": True}),
        ("patch", {"depth": 2, "condition": False}),
        ("patch", {"depth": 2, "condition": True}),
    ],
)
def test_the_weights_of_a_discriminator_are_recognised_by_that_discriminator_alone(name, options):
    config = {"features": 4} | options
    state = build_discriminator(name, **config).state_dict()
    assert {other: entry.detect(state) for other, entry in DISCRIMINATORS.items()} == dict.fromkeys(DISCRIMINATORS) | {name: config}


@pytest.mark.parametrize("name", OWN)
def test_float16_is_enough_for_networks_that_claim_it(name):
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = network.factory(scale=network.scales[0], **NETWORK_OPTIONS.get(name, [{}])[0]).eval()
    image = torch.rand(1, 3, 12, 12)
    with torch.inference_mode():
        assert not network.supports_half(model) or (model.half()(image.half()).float() - model.float()(image)).abs().max() < 0.02


def test_the_docs_show_the_registered_networks():
    text = (ROOT / "docs" / "training.md").read_text()
    assert networks_table() in text
    assert discriminators_table() in text
