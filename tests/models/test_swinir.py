import numpy as np
import pytest
import torch
from torch.nn import functional

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.models.checkpoints import from_state_dict, load_generator, load_pretrained, save_generator
from srgan.models.layers import mirrored_blocks
from srgan.models.registry import architecture_of, build_generator
from srgan.models.swinir import SwinIRConfig
from srgan.utils.errors import SrganError

SMALL = {"features": 12, "groups": 2, "depth": 2, "heads": 3}


def trained(**config):
    """Return a small network whose weights differ from the initial ones, as after a training."""
    torch.manual_seed(0)
    model = build_generator("swinir", **{"scale": 2} | SMALL | config)
    for weight in model.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    return model.eval()


@pytest.mark.parametrize(("scale", "window", "size"), [(1, 8, (17, 29)), (3, 8, (16, 24)), (4, 4, (16, 19))])
def test_spandrel_opens_our_weights_with_zero_difference(tmp_path, scale, window, size):
    spandrel = pytest.importorskip("spandrel")
    model = trained(scale=scale, window=window)
    path = tmp_path / "w.safetensors"
    save_generator(path, model, {})
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(path)
    assert (theirs.architecture.id, theirs.scale) == ("SwinIR", scale)
    loaded, _ = load_generator(path)
    assert architecture_of(loaded) == architecture_of(model)
    image = torch.rand(1 + scale % 2, 3, *size)
    with torch.inference_mode():
        assert torch.equal(theirs.model.eval()(image), model(image))
        assert torch.equal(loaded(image), model(image))


@pytest.mark.parametrize(("scale", "upsampler"), [(1, ""), (2, "pixelshuffledirect")])
def test_a_published_file_can_be_trained_on(tmp_path, scale, upsampler):
    architecture = pytest.importorskip("spandrel.architectures.SwinIR")
    torch.manual_seed(0)
    theirs = architecture.SwinIR(
        upscale=scale, upsampler=upsampler, embed_dim=12, depths=[2, 2], num_heads=[3, 3], window_size=8, mlp_ratio=2
    ).eval()
    torch.save({"params": theirs.state_dict()}, tmp_path / "w.pth")
    ours = build_generator("swinir", scale=scale, **SMALL).eval()
    load_pretrained(tmp_path / "w.pth", ours)
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        assert torch.equal(theirs(image), ours(image))


def test_it_starts_as_bilinear_enlargement():
    model = build_generator("swinir", scale=3, **SMALL).eval()
    image = torch.rand(1, 3, 12, 17)
    with torch.no_grad():
        model.upsample[0].weight[:, 3:] = 0  # the random part of the start
        found = model(image)
    inside = slice(3, -3)  # away from the zero padding
    expected = functional.interpolate(image, scale_factor=3, mode="bilinear")
    assert torch.allclose(found[..., inside, inside], expected[..., inside, inside], atol=1e-5)


def test_shifted_windows_do_not_join_opposite_sides():
    model = trained(scale=1, window=4, groups=1)
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 30:, :] = 1
    changed[..., :, 30:] = 1
    with torch.inference_mode():
        near = 30 - model.receptive_field
        assert torch.allclose(model(image)[..., :near, :near], model(changed)[..., :near, :near], atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 5), (8, 16)])
def test_an_image_is_mirrored_as_numpy_mirrors_it(size):
    image = torch.rand(2, 3, *size)
    missing = [(0, -side % 8) for side in size]
    expected = torch.from_numpy(np.pad(image.numpy(), [(0, 0), (0, 0), *missing], mode="reflect"))
    assert torch.equal(functional.pixel_shuffle(mirrored_blocks(image, 8), 8), expected)


def test_it_trains_in_bfloat16_and_channels_last():
    model = trained(window=4).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        sr_image = model(torch.rand(2, 3, 8, 12).contiguous(memory_format=torch.channels_last))
    sr_image.float().square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_heads_divide_the_channels():
    with pytest.raises(ValueError, match=r"must be a multiple of heads \(7\)"):
        SwinIRConfig(name="swinir", heads=7)
    with pytest.raises(ValueError, match="swinir has a multiple of 7 channels"):
        build_generator("swinir", scale=2, heads=7)


TABLE = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({TABLE: torch.zeros(13**2, 3)}, "a window of 7 pixels is not supported, only of 4, 8 and 16"),
        ({"conv_before_upsample.0.weight": torch.zeros(64, 12, 3, 3)}, "only the light form is supported"),
        ({"layers.0.residual_group.blocks.0.mlp.fc1.weight": torch.zeros(48, 12)}, "does not have 24 channels"),
    ],
)
def test_forms_that_are_not_supported_are_named(change, message):
    with pytest.raises(SrganError, match=rf"x\.pth: looks like swinir.*{message}"):
        from_state_dict(trained().state_dict() | change, "x.pth")
