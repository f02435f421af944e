import numpy as np
import pytest
import torch
from torch.nn import functional

from srgan import losses, models
from srgan.errors import SrganError


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_compact_starts_as_bilinear_enlargement(scale):
    model = models.build_generator("compact", scale=scale, features=16, depth=3)
    with torch.no_grad():
        model.body[-1].weight[:, 3:] = 0  # the random part of the start
    image = torch.rand(1, 3, 20, 20)
    inside = slice(8 * scale, -8 * scale)  # away from the zero padding
    expected = functional.interpolate(image, scale_factor=scale, mode="bilinear")
    assert torch.allclose(model(image)[..., inside, inside], expected[..., inside, inside], atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_compact_takes_any_size(scale):
    model = models.build_generator("compact", scale=scale, features=8, depth=1)
    for height, width in ((1, 1), (1, 7), (5, 3)):
        assert model(torch.rand(2, 3, height, width)).shape == (2, 3, scale * height, scale * width)


def test_compact_has_the_community_sizes():
    """Real-ESRGAN's realesr-general-x4v3 is 64 features, 32 convolutions: 1,213,296 weights."""
    model = models.build_generator("compact", scale=4, features=64, depth=32)
    assert models.parameter_count(model) == 1_213_296
    assert {"body.0.weight", "body.1.weight", "body.66.bias"} <= set(model.state_dict())


def test_what_an_output_depends_on_is_the_receptive_field():
    model = models.build_generator("compact", scale=2, features=8, depth=3)
    image = torch.rand(1, 3, 21, 21, requires_grad=True)
    model(image)[0, :, 20:22, 20:22].sum().backward()  # of LR pixel (10, 10)
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.min()) == 10 - model.receptive_field
    assert int(rows.max()) == 10 + model.receptive_field


def test_a_saved_generator_comes_back_by_its_weights_alone(tmp_path):
    model = models.build_generator("compact", scale=3, features=12, depth=2)
    models.save_generator(tmp_path / "a.safetensors", model, {"sr.objective": "psnr"})
    loaded, metadata = models.load_generator(tmp_path / "a.safetensors", made_by="pretrain")
    assert models.describe(loaded) == ("compact", {"scale": 3, "features": 12, "depth": 2})
    assert metadata == {"sr.objective": "psnr"}
    image = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(image), model.eval()(image))


def test_enlarging_clips_and_rounds():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(value))

        def forward(self, image):
            return image * 0 + self.value

    image = np.zeros((2, 3, 3), np.uint8)
    levels = [int(models.enlarge(Constant(value), image)[0, 0, 0]) for value in (-0.1, 0.0, 0.5, 0.999, 1.2)]
    assert levels == [0, 0, 128, 255, 255]


def test_files_that_are_no_generator_are_told_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(SrganError, match="no such file or folder; it is made by: dvc repro pretrain"):
        models.load_generator(path, made_by="pretrain")
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(SrganError, match="not a readable safetensors file"):
        models.load_generator(path, made_by="pretrain")
    models.save_generator(path, torch.nn.Linear(2, 2), {})
    with pytest.raises(SrganError, match="holds no network of compact"):
        models.load_generator(path, made_by="pretrain")


def test_the_patch_discriminator_judges_patches():
    model = models.build_discriminator("patch", features=4, depth=3)
    logits, features = model(torch.rand(2, 3, 64, 48).to(memory_format=torch.channels_last))
    assert logits.shape == (2, 1, 8, 6)
    assert [tuple(feature.shape[1:]) for feature in features] == [(4, 64, 48), (8, 32, 24), (16, 16, 12), (32, 8, 6)]


def test_pixel_losses_pull_towards_the_original():
    for name in ("l1", "mse"):
        sr_image = torch.full((1, 3, 4, 4), 0.4, requires_grad=True)
        losses.pixel_loss(name, sr_image, torch.full((1, 3, 4, 4), 0.6)).backward()
        assert (sr_image.grad < 0).all()  # a step down the slope makes it brighter


def test_adversarial_losses_pull_in_opposite_directions():
    real, fake = torch.randn(4, 1, 3, 3, requires_grad=True), torch.randn(4, 1, 3, 3, requires_grad=True)
    losses.discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all()  # raise what it says of real patches
    assert (fake.grad > 0).all()
    fake.grad = None
    losses.adversarial_loss(real.detach(), fake).backward()
    assert (fake.grad < 0).all()  # the generator wants its patches to look real


def test_feature_matching_is_zero_for_equal_features_and_grows():
    features = [torch.rand(1, 2, 4, 4), torch.rand(1, 4, 2, 2)]
    assert losses.feature_matching_loss(features, features) == 0
    assert losses.feature_matching_loss([f + 0.5 for f in features], features) == pytest.approx(0.5)
