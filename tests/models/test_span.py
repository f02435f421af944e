import pytest
import torch
from torch.nn import functional

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.models.checkpoints import from_state_dict, load_generator, load_pretrained, save_generator
from srgan.models.registry import architecture_of, build_generator
from srgan.utils.errors import SrganError

FORMS = [pytest.param({"reparameterized": form, "norm": norm}) for form in (False, True) for norm in (False, True)]
IMAGE = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(0))


def trained(**config):
    """Return a network whose weights differ from the initial ones, as after a training."""
    torch.manual_seed(0)
    model = build_generator("span", **{"scale": 2, "features": 8} | config)
    for weight in model.parameters():
        weight.data += (0.001 if model.norm else 0.02) * torch.randn_like(weight)
    return model.eval()


def as_published(scale=2, features=8, norm=True):
    architecture = pytest.importorskip("spandrel.architectures.SPAN")
    torch.manual_seed(0)
    return architecture.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=features, upscale=scale, norm=norm).eval()


@pytest.mark.parametrize("config", FORMS, ids=str)
def test_it_starts_as_bilinear_enlargement(config):
    model = build_generator("span", scale=3, features=8, **config).eval()
    with torch.no_grad():
        model.upsampler[0].weight[:, 3:] = 0  # the random part of the start
        found = model(IMAGE)
    inside = slice(6, -6)  # away from the zero padding
    expected = functional.interpolate(IMAGE, scale_factor=3, mode="bilinear")
    assert torch.allclose(found[..., inside, inside], expected[..., inside, inside], atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_the_sum_of_convolutions_folds_into_one_up_to_rounding(norm):
    model = trained(reparameterized=True, norm=norm)
    wide, plain = model.double(), model.double().folded()
    assert architecture_of(plain) == ("span", {"scale": 2, "features": 8} | ({"norm": True} if norm else {}))
    with torch.inference_mode():
        in_training, in_use = wide.train()(IMAGE.double()), wide.eval()(IMAGE.double())
        assert torch.equal(plain(IMAGE.double()), in_use)
        assert (in_training - in_use).abs().max() < 1e-9  # also at the border
        single = plain.float()(IMAGE)
    assert (single - in_use).abs().max() < (1e-4 if norm else 1e-5)  # of features in 0..255 or in 0..1
    assert sum(weight.numel() for weight in plain.parameters()) < 0.3 * sum(weight.numel() for weight in wide.parameters())


def test_the_folded_network_keeps_mode_and_luma():
    model = trained(scale=1, reparameterized=True)
    model.keep_luma = True
    plain = model.folded()
    assert (plain.keep_luma, plain.training) == (True, False)
    assert model.train().folded().training
    assert plain.folded() is plain


def test_weights_get_gradients_in_evaluation_mode_too():
    model = trained(reparameterized=True)
    model(IMAGE).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("config", FORMS, ids=str)
def test_spandrel_opens_our_weights(tmp_path, config):
    spandrel = pytest.importorskip("spandrel")
    model = trained(**config)
    save_generator(tmp_path / "w.safetensors", model, {})
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "w.safetensors")
    assert (theirs.architecture.id, theirs.scale) == ("SPAN", 2)
    loaded, _ = load_generator(tmp_path / "w.safetensors")
    assert architecture_of(loaded) == architecture_of(model)
    with torch.inference_mode():
        expected, found = model(IMAGE), theirs.model.eval()(IMAGE)
        assert torch.equal(loaded(IMAGE), expected)
    # It folds in float32, which rounds the sums of a re-parameterized network.
    assert torch.equal(found, expected) or (config["reparameterized"] and (found - expected).abs().max() < 1e-4)


@pytest.mark.parametrize("norm", [False, True])
def test_a_published_file_gives_the_published_result(tmp_path, norm):
    theirs = as_published(norm=norm)
    with torch.no_grad():
        theirs.upsampler[0].weight *= 0.1  # values as of an image
    torch.save({"params": theirs.state_dict()}, tmp_path / "w.pth")
    model = build_generator("span", scale=2, features=8, norm=norm, reparameterized=True)
    load_pretrained(tmp_path / "w.pth", model)
    plain = build_generator("span", scale=2, features=8, norm=norm)
    load_pretrained(tmp_path / "w.pth", plain)
    with torch.inference_mode():
        expected = theirs(IMAGE)
        for ours in (model.eval(), plain.eval()):
            assert (ours(IMAGE) - expected).abs().max() < 1e-5


def test_a_published_file_of_another_kind_is_refused_with_its_size(tmp_path):
    torch.save(as_published(norm=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(SrganError, match=r"w\.pth: holds span .*'features': 8.* but params.yaml names span .*'features': 4"):
        load_pretrained(tmp_path / "w.pth", build_generator("span", scale=2, features=4))


def test_a_file_that_would_fold_into_much_memory_is_an_error_in_words():
    """Two vectors of 200,000 numbers: their product would take 320 GB."""
    state = trained(reparameterized=True).file_state()
    state |= {"conv_cat.weight": torch.zeros(200_000, 1, 1, 1), "conv_1.sk.weight": torch.zeros(200_000, 1, 1, 1)}
    state |= {"conv_1.conv.0.weight": torch.zeros(1, 200_000, 1, 1), "conv_1.conv.2.weight": torch.zeros(200_000, 1, 1, 1)}
    with pytest.raises(SrganError, match=r"looks like span .* but does not fit"):
        from_state_dict(state, "x.pth")
