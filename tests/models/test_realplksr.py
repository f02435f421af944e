import pytest
import torch
from torch.nn import functional

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.models.checkpoints import from_state_dict, load_generator, load_pretrained, save_generator
from srgan.models.network import WHOLE_IMAGE
from srgan.models.realplksr import RealPLKSRConfig
from srgan.models.registry import NETWORKS, architecture_of, build_generator
from srgan.utils.errors import SrganError

IMAGE = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))
FORMS = [(norm, up) for norm in ("layer", "group") for up in ("pixelshuffle", "dysample")]


def trained(**config):
    """Return a small network whose weights differ from the initial ones, as after a training."""
    torch.manual_seed(0)
    model = build_generator("realplksr", **{"scale": 2, "features": 8, "depth": 2, "kernel": 5} | config)
    for weight in model.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    return model.eval()


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_spandrel_opens_our_weights_with_zero_difference(tmp_path, form, scale):
    spandrel = pytest.importorskip("spandrel")
    model = trained(scale=scale, normalization=form[0], upsampling=form[1])
    save_generator(tmp_path / "w.safetensors", model, {})
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "w.safetensors")
    assert (theirs.architecture.id, theirs.scale) == ("PLKSR", scale)
    assert ("DySample" in theirs.tags, "LayerNorm" in theirs.tags) == (form[1] == "dysample", form[0] == "layer")
    loaded, _ = load_generator(tmp_path / "w.safetensors")
    assert architecture_of(loaded) == architecture_of(model)
    with torch.inference_mode():
        assert torch.equal(theirs.model.eval()(IMAGE.clone()), model(IMAGE))
        assert torch.equal(loaded(IMAGE), model(IMAGE))


def test_a_published_file_can_be_trained_on(tmp_path):
    architecture = pytest.importorskip("spandrel.architectures.PLKSR")
    torch.manual_seed(0)
    theirs = architecture.RealPLKSR(dim=16, n_blocks=1, upscaling_factor=4, kernel_size=7, dysample=True).eval()
    torch.save({"params_ema": theirs.state_dict()}, tmp_path / "w.pth")
    ours = build_generator("realplksr", scale=4, features=16, depth=1, kernel=7, normalization="group", upsampling="dysample").eval()
    load_pretrained(tmp_path / "w.pth", ours)
    with torch.inference_mode():
        assert torch.equal(theirs(IMAGE.clone()), ours(IMAGE))


@pytest.mark.parametrize(
    ("upsampling", "scale", "mode"),
    [("pixelshuffle", 3, "nearest"), ("dysample", 3, "bilinear"), ("dysample", 2, "bilinear"), ("dysample", 1, "nearest")],
)
def test_it_starts_as_interpolation(upsampling, scale, mode):
    model = build_generator("realplksr", scale=scale, features=8, depth=1, kernel=3, upsampling=upsampling).eval()
    with torch.no_grad():
        model.feats[-1].weight.zero_()  # the random parts of the start
        if upsampling == "dysample":
            model.to_img.offset.weight.zero_()
        found = model(IMAGE)
    assert torch.allclose(found, functional.interpolate(IMAGE, scale_factor=scale, mode=mode), atol=1e-5)


def test_a_learned_offset_reaches_as_far_as_the_receptive_field():
    model = trained(scale=2, depth=1, kernel=3, upsampling="dysample").double()
    with torch.no_grad():
        model.to_img.offset.bias.copy_(torch.tensor([100.0, -100.0]).repeat(16))  # far beyond the limit, to both sides
    reach = model.receptive_field
    middle = reach + 2
    image = torch.rand(1, 3, 2 * middle + 1, 2 * middle + 1, dtype=torch.double, requires_grad=True)
    model(image)[0, :, 2 * middle : 2 * middle + 2, 2 * middle : 2 * middle + 2].sum().backward()
    rows, columns = (image.grad.abs().sum((0, 1, axis)).nonzero().flatten() - middle for axis in (3, 2))
    assert max(-int(rows.min()), int(rows.max()), -int(columns.min()), int(columns.max())) == reach


def test_with_group_normalisation_all_pixels_count():
    model = trained(normalization="group")
    assert model.receptive_field == WHOLE_IMAGE
    image = torch.rand(1, 3, 4, 90)
    changed = image.clone()
    changed[..., 80:] = 1
    far = 2 * (90 - 10 - trained().receptive_field - 1)
    with torch.inference_mode():
        assert not torch.allclose(model(image)[..., :far], model(changed)[..., :far], atol=1e-6)
        assert torch.equal(trained()(image)[..., :far], trained()(changed)[..., :far])


def test_positions_are_exact_in_bfloat16():
    model = trained(upsampling="dysample")
    image = torch.linspace(0, 1, 600).repeat(1, 3, 2, 1)  # a bfloat16 holds no position beyond 256 to the pixel
    with torch.inference_mode():
        expected = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(image)
    assert (found.float() - expected).abs().max() < 0.02


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_it_trains_in_bfloat16_and_channels_last(form):
    model = trained(normalization=form[0], upsampling=form[1]).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        sr_image = model(IMAGE.contiguous(memory_format=torch.channels_last))
    sr_image.float().square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_float16_is_for_forms_with_a_limited_range():
    network = NETWORKS["realplksr"]
    assert [network.supports_half(RealPLKSRConfig(name="realplksr", normalization=norm, upsampling=up)) for norm, up in FORMS] == [
        True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("option", "message"), [({"features": 12}, "must be a multiple of 8"), ({"kernel": 4}, "must be odd")])
def test_sizes_that_do_not_exist_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        RealPLKSRConfig(name="realplksr", **option)
    with pytest.raises(ValueError, match="realplksr has a multiple of 8 channels and an odd kernel"):
        build_generator("realplksr", scale=2, **option)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("feats.1.attn.f.0.weight"), "blocks without attention are not supported"),
        (lambda state: state.update({"feats.1.lk.conv.weight": torch.zeros(4, 4, 5, 5)}), "the large kernel has 4 of 8 channels"),
    ],
)
def test_forms_that_are_not_supported_are_named(change, message):
    state = trained().state_dict()
    change(state)
    with pytest.raises(SrganError, match=rf"x\.pth: looks like realplksr.*{message}"):
        from_state_dict(state, "x.pth")
