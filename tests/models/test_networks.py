import os

import numpy as np
import pytest
import torch
from torch.nn import functional

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.degradations import bicubic as degrade
from srgan.inference.torch_upscale import upscale
from srgan.models import layers
from srgan.models import vgg as features
from srgan.models.checkpoints import load_generator, load_pretrained, save_generator
from srgan.models.registry import DISCRIMINATORS, architecture_of, build_discriminator, build_generator, parameter_count
from srgan.utils.errors import SrganError

MIRROR = os.environ.get("SRGAN_MIRROR")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_compact_starts_as_bilinear_enlargement(scale):
    model = build_generator("compact", scale=scale, features=16, depth=3)
    with torch.no_grad():
        model.body[-1].weight[:, 3:] = 0  # the random part of the start
    image = torch.rand(1, 3, 20, 20)
    inside = slice(8 * scale, -8 * scale)  # away from the zero padding
    expected = functional.interpolate(image, scale_factor=scale, mode="bilinear")
    assert torch.allclose(model(image)[..., inside, inside], expected[..., inside, inside], atol=1e-6)


SMALL = {
    "compact": {"features": 8, "depth": 1},
    "compact-unshuffle": {"features": 8, "depth": 1, "unshuffle": 2},
    "srresnet": {"features": 8, "depth": 1, "upsampling": "pixelshuffle"},
    "srresnet-nearest": {"features": 8, "depth": 1, "upsampling": "nearest"},
    "srresnet-transposed": {"features": 8, "depth": 1, "upsampling": "transposed"},
    "rrdb": {"features": 8, "growth": 4, "depth": 1},
    "srcnn": {"features": 8},
    "nafnet": {"width": 4, "encoder_blocks": (1, 0), "middle_blocks": 1, "decoder_blocks": (1, 2)},
    "nafnet-unshuffle": {"width": 4, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (0,), "unshuffle": 2},
    "span": {"features": 4},
    "span-reparameterized": {"features": 4, "norm": True, "reparameterized": True},
    "realplksr": {"features": 8, "depth": 1, "kernel": 5, "normalization": "layer", "upsampling": "pixelshuffle"},
    "realplksr-dysample": {"features": 8, "depth": 1, "kernel": 3, "normalization": "layer", "upsampling": "dysample"},
    "swinir": {"features": 6, "groups": 1, "depth": 3, "heads": 2, "window": 4},
}
SCALES = {"compact": (1, 2, 3, 4), "compact-unshuffle": (1, 2), "srcnn": (1, 2, 3, 4), "nafnet": (1,), "nafnet-unshuffle": (1,)}
SCALES |= {"srresnet-nearest": (2, 3, 4, 8), "srresnet-transposed": (2, 3, 4, 8)}
SCALES |= {"span": (1, 3), "span-reparameterized": (2,), "realplksr": (1, 2), "realplksr-dysample": (1, 2, 3), "swinir": (1, 3)}


@pytest.fixture(
    params=[(name, scale) for name in SMALL for scale in SCALES.get(name, (1, 2, 3, 4, 8))], ids=lambda pair: f"{pair[0]}-x{pair[1]}"
)
def network(request):
    """Each network at each scale, its name and what it was built of."""
    torch.manual_seed(0)
    label, scale = request.param
    name = label.split("-")[0]
    return build_generator(name, scale=scale, **SMALL[label]).eval(), name, {"scale": scale} | SMALL[label]


def test_a_network_takes_any_size(network):
    model, _, config = network
    for height, width in ((1, 1), (1, 7), (5, 3)):
        assert model(torch.rand(2, 3, height, width)).shape == (2, 3, config["scale"] * height, config["scale"] * width)


def test_what_a_network_is_built_of_can_be_read_from_its_weights(network, tmp_path):
    model, name, config = network
    save_generator(tmp_path / "a.safetensors", model, {"sr.objective": "psnr"})
    loaded, metadata = load_generator(tmp_path / "a.safetensors", made_by="pretrain")
    assert architecture_of(loaded) == (name, config)
    assert metadata == {"sr.objective": "psnr"}
    image = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(image), model(image))


def test_what_an_output_depends_on_is_the_receptive_field(network):
    model, name, config = network
    model, reach, scale = model.double(), model.receptive_field, config["scale"]
    for weight in model.parameters():  # some begin with zeros
        weight.data += 0.1 * torch.rand_like(weight)
    seen = 0
    for middle in range(reach + 3, reach + 3 + model.multiple_of):  # the position in a block of pixels counts
        image = torch.rand(1, 3, 2 * middle + 1, 9, dtype=torch.double, requires_grad=True)
        model(image)[0, :, scale * middle : scale * middle + scale, 4 * scale].sum().backward()  # of the LR pixel in the middle
        rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        seen = max(seen, middle - int(rows.min()), int(rows.max()) - middle)
    if getattr(model, "upsampling", "") == "dysample":
        assert seen < reach  # learned offsets use the rest, see test_realplksr.py
    else:
        assert seen == reach or (name == "srcnn" and seen == reach - 1)  # of bicubic's five taps one is always zero


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("srresnet", {}, 1_549_462),  # 1.55 million, 16 blocks, x4
        ("rrdb", {}, 16_697_987),  # ESRGAN's released RRDB_ESRGAN_x4
        ("compact", {"features": 64, "depth": 32}, 1_213_296),  # Real-ESRGAN's realesr-general-x4v3
        ("span", {}, 426_288),  # 48 channels
        ("realplksr", {}, 7_389_680),  # the community's 7.39 million
        ("swinir", {}, 897_228 + 24 * 6 * 15**2),  # the paper's table 5 counts no position biases
        ("srcnn", {}, 20_099),  # 3*64*81 + 64*32 + 32*3*25 weights, 64 + 32 + 3 biases
    ],
)
def test_networks_have_the_published_sizes(name, config, count):
    assert parameter_count(build_generator(name, scale=4, **config)) == count


def test_discriminators_have_the_published_sizes():
    sizes = {name: parameter_count(build_discriminator(name)) for name in ("vgg", "unet")}
    convolutions = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512)
    norms = 2 * (64 + 128 + 128 + 256 + 256 + 512 + 512)
    assert sizes["vgg"] == convolutions + 64 + norms + 512 * 36 * 1024 + 1024 + 1024 + 1  # SRGAN, figure 4, at 96x96
    assert sizes["unet"] == 4_376_897  # Real-ESRGAN's RealESRGAN_x4plus_netD


@pytest.mark.parametrize("upsampling", ["pixelshuffle", "transposed", "nearest"])
@pytest.mark.parametrize("step", [2, 3])
def test_an_upsampling_starts_without_a_checkerboard(upsampling, step):
    torch.manual_seed(0)
    flat = layers.upsampler(upsampling, 16, step)(torch.full((1, 16, 12, 12), 0.5))
    inside = flat[..., 4 * step : -4 * step, 4 * step : -4 * step]
    assert inside.std(dim=(2, 3)).max() < 1e-6


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_last_convolution_gives_the_same_before_the_pixel_shuffle(scale):
    model = build_generator("srresnet", scale=scale, features=6, depth=1).double()
    found = []
    for model.optimize_graph in (False, True):
        lr_image = torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        sr_image = model(lr_image)
        model.zero_grad()
        (sr_image**2).sum().backward()
        found.append([sr_image, lr_image.grad, *(weight.grad.clone() for weight in model.parameters())])
    for plain, ours in zip(*found, strict=True):
        assert torch.allclose(plain, ours, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("step", "kernel"), [(2, 3), (2, 9), (3, 5), (4, 9)])
def test_a_convolution_moves_before_a_pixel_shuffle_unchanged(step, kernel):
    convolution = torch.nn.Conv2d(5, 3, kernel, padding=kernel // 2).double()
    features = torch.rand(1, 5 * step**2, 4, 6, dtype=torch.float64)
    expected = convolution(functional.pixel_shuffle(features, step))
    weight, bias, padding = layers.fold_into_subpixel(convolution, step)
    assert torch.allclose(functional.pixel_shuffle(functional.conv2d(features, weight, bias, padding=padding), step), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("rrdb", {"growth": 4, "depth": 2}),
        ("span", {}),
        ("realplksr", {"depth": 2, "kernel": 3}),
        ("swinir", {"groups": 1, "depth": 2, "heads": 2, "window": 4}),
    ],
)
def test_recomputed_blocks_give_the_same_gradients(name, config):
    model = build_generator(name, scale=4, features=8, **config)
    found = []
    for model.activation_checkpointing in (False, True):
        model.zero_grad()
        model(torch.ones(1, 3, 6, 6)).sum().backward()
        found.append([weight.grad.clone() for weight in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("srresnet-nearest", "srresnet-transposed")])
def test_an_untrained_network_at_scale_one_begins_near_its_input(name):
    torch.manual_seed(0)
    model = build_generator(name.split("-")[0], scale=1, **SMALL[name]).eval()
    image = torch.rand(1, 3, 24, 24)
    assert (model(image) - image).square().mean() < 0.2 * image.var()


def test_local_channel_attention_is_that_of_nafnet_within_its_window():
    spandrel = pytest.importorskip("spandrel")
    torch.manual_seed(0)
    config = {"width": 4, "encoder_blocks": (1, 1), "middle_blocks": 2, "decoder_blocks": (1, 1)}
    model = build_generator("nafnet", scale=1, **config)
    for weight in model.parameters():  # beta and gamma begin with zeros
        weight.data += 0.1 * torch.rand_like(weight)
    published = {key.replace("local_sca", "sca"): value for key, value in model.state_dict().items()}
    theirs = spandrel.ModelLoader(device="cpu").load_from_state_dict(published).model.eval()
    image = torch.rand(1, 3, 4, 4)  # each window covers all of it
    with torch.inference_mode():
        assert torch.allclose(model.eval()(image), theirs(image), atol=1e-6)


def test_srcnn_works_on_the_bicubic_image():
    model = build_generator("srcnn", scale=4)
    seen = []
    model.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lr_image = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    upscale(model, lr_image)
    bicubic = (seen[0][0].permute(1, 2, 0).numpy() * 255).clip(0, 255).round().astype(np.uint8)
    inside = slice(8, -8)  # at the border one mirrors, the other repeats
    assert np.abs(bicubic[inside, inside].astype(int) - degrade.bicubic_upscale(lr_image, 4)[inside, inside]).max() <= 1


def test_compact_has_the_community_names():
    model = build_generator("compact", scale=4, features=64, depth=32)
    assert {"body.0.weight", "body.1.weight", "body.66.bias"} <= set(model.state_dict())


def test_enlarging_clips_and_rounds():
    class Constant(torch.nn.Module):
        scale, receptive_field = 1, 0

        def __init__(self, value):
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(value))

        def forward(self, image):
            return image * 0 + self.value

    image = np.zeros((2, 3, 3), np.uint8)
    levels = [int(upscale(Constant(value), image)[0, 0, 0]) for value in (-0.1, 0.0, 0.5, 0.999, 1.2)]
    assert levels == [0, 0, 128, 255, 255]


def test_files_that_are_no_generator_are_told_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(SrganError, match=r"no such file or folder. It is made by: dvc repro pretrain"):
        load_generator(path, made_by="pretrain")
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(SrganError, match="not a readable safetensors file"):
        load_generator(path, made_by="pretrain")
    save_generator(path, torch.nn.Linear(2, 2), {})
    with pytest.raises(SrganError, match="holds no network of compact, srresnet, rrdb, srcnn, nafnet, span, realplksr, swinir"):
        load_generator(path, made_by="pretrain")


def test_the_patch_discriminator_judges_patches():
    model = build_discriminator("patch", features=4, depth=3)
    logits, features = model(torch.rand(2, 3, 64, 48).to(memory_format=torch.channels_last))
    assert logits.shape == (2, 1, 8, 6)
    assert [tuple(feature.shape[1:]) for feature in features] == [(4, 64, 48), (8, 32, 24), (16, 16, 12), (32, 8, 6)]


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("size", [(32, 32), (96, 96), (50, 70)])
def test_discriminators_take_any_patch(name, size):
    model = build_discriminator(name, features=4)
    logits, features = model(torch.rand(2, 3, *size).to(memory_format=torch.channels_last))
    assert logits.shape == {"vgg": (2, 1), "unet": (2, 1, *size), "patch": (2, 1, size[0] // 8, size[1] // 8)}[name]
    assert features[0].shape[2:] == size


# -- checkpoints of other programs -----------------------------------------------------------------------------------------


def first_release(state, ups):
    """Our RRDB keys as ESRGAN's first release named them."""
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    names = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    names |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, ups + 1)}
    names |= {"conv_hr": f"model.{3 * ups + 2}", "conv_last": f"model.{3 * ups + 4}"}
    renamed = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        if stem.startswith("body."):
            _, block, dense, convolution = stem.split(".")
            stem = f"model.1.sub.{block}.RDB{dense[3]}.conv{convolution[4]}.0"
        else:
            stem = names[stem]
        renamed[f"{stem}.{kind}"] = value
    return renamed


def published(state):
    """As the code published with the paper names them."""
    words = (("conv_body", "trunk_conv"), ("body.", "RRDB_trunk."), ("rdb", "RDB"), ("conv_up", "upconv"), ("conv_hr", "HRconv"))
    renamed = {}
    for key, value in state.items():
        for ours, theirs in words:
            key = key.replace(ours, theirs)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, ups: state,
        lambda state, ups: {"params": {key: value * 0 for key, value in state.items()}, "params_ema": state},
        lambda state, ups: {"params": {f"module.{key}": value for key, value in state.items()}},
        lambda state, ups: published(state),
        first_release,
    ],
    ids=["bare", "params_ema", "module", "published", "first release"],
)
def test_community_checkpoints_of_rrdb_can_be_trained_on(tmp_path, scale, wrap):
    torch.manual_seed(0)
    config = {"scale": scale, "features": 8, "growth": 4, "depth": 2}
    theirs, ours = (build_generator("rrdb", **config) for _ in range(2))
    torch.save(wrap(theirs.state_dict(), {1: 0, 2: 1, 4: 2, 8: 3}[scale]), tmp_path / "x.pth")
    load_pretrained(tmp_path / "x.pth", ours)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_a_community_checkpoint_of_rrdb_at_three_can_be_trained_on(tmp_path):
    theirs, ours = (build_generator("rrdb", scale=3, features=8, growth=4, depth=1) for _ in range(2))
    torch.save({key.replace("conv_up_x3", "conv_up1"): value for key, value in theirs.state_dict().items()}, tmp_path / "x.pth")
    load_pretrained(tmp_path / "x.pth", ours)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_a_community_checkpoint_of_compact_can_be_trained_on(tmp_path):
    theirs, ours = (build_generator("compact", scale=4, features=8, depth=2) for _ in range(2))
    torch.save({"params": theirs.state_dict()}, tmp_path / "x.pth")
    load_pretrained(tmp_path / "x.pth", ours)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_a_start_that_does_not_fit_is_told(tmp_path):
    path, model = tmp_path / "x.pth", build_generator("compact", scale=4, features=8, depth=2)
    with pytest.raises(SrganError, match="no such file of weights"):
        load_pretrained(path, model)
    torch.save({"params": build_generator("compact", scale=4, features=8, depth=3).state_dict()}, path)
    with pytest.raises(SrganError, match=r"holds compact .*'depth': 3.* but params.yaml names compact .*'depth': 2.* set model.depth: 3"):
        load_pretrained(path, model)
    torch.save({"params": {"conv_first.weight": torch.zeros(64, 12, 3, 3)}}, path)
    with pytest.raises(SrganError, match="begins with pixel-unshuffle"):
        load_pretrained(path, model)
    torch.save({"params": {"model.0.weight": torch.zeros(8, 3, 3, 3)}}, path)
    with pytest.raises(SrganError, match="holds no network of"):
        load_pretrained(path, model)
    once = {key: value for key, value in build_generator("rrdb", scale=2, features=8, depth=1).state_dict().items() if "up" not in key}
    torch.save(once, path)
    with pytest.raises(SrganError, match=r"holds rrdb .'scale': 1.* but params.yaml names compact"):
        load_pretrained(path, model)
    published = {"intro.weight": torch.zeros(8, 3, 3, 3), "middle_blks.0.sca.1.weight": torch.zeros(8, 8, 1, 1)}
    torch.save(published, path)
    with pytest.raises(SrganError, match="a NAFNet whose channel attention averages over the whole image"):
        load_pretrained(path, model)
    torch.save(model, path)  # a pickled object: code
    with pytest.raises(SrganError, match="A file that contains code is not opened"):
        load_pretrained(path, model)


def vgg_weights():
    """As in torchvision's file, at random."""
    torch.manual_seed(0)
    plan = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
    plan |= dict.fromkeys((12, 14, 16), (256, 256)) | {19: (256, 512)}
    plan |= dict.fromkeys((21, 23, 25, 28, 30, 32, 34), (512, 512))
    weights = {}
    for number, (before, after) in plan.items():
        weights[f"features.{number}.weight"] = torch.randn(after, before, 3, 3) * (2 / 9 / before) ** 0.5
        weights[f"features.{number}.bias"] = torch.zeros(after)
    return weights


def test_vgg_returns_the_layers_before_and_after_activation():
    network = features.Vgg19(["relu2_2", "conv2_2", "vgg22", "conv5_4"], vgg_weights())
    after, before, same, deep = network(torch.rand(1, 3, 32, 32))
    assert (before < 0).any()
    assert torch.equal(functional.relu(before), after)
    assert torch.equal(after, same)
    assert deep.shape == (1, 512, 2, 2)
    assert len(network.features) == 35  # what lies behind conv5_4 is left out
