import copy

import pytest
import torch

from srgan.models.checkpoints import load_generator, save_generator
from srgan.models.luma import keep_luma, luma
from srgan.models.registry import build_generator


def test_the_result_has_the_colours_of_one_image_and_the_luma_of_the_other():
    torch.manual_seed(0)
    image, reference = torch.rand(2, 3, 16, 16) * 3 - 1, torch.rand(2, 3, 16, 16)
    reference[0, :, :4] = 0
    reference[0, :, 4:8] = 1
    result = keep_luma(image, reference)
    assert (luma(result) - luma(reference)).abs().max() < 1e-5
    assert float(result.min()) >= -1e-6 and float(result.max()) <= 1 + 1e-6
    chroma, wanted = result - luma(result), image - luma(image)
    cosine = torch.nn.functional.cosine_similarity(chroma[1], wanted[1], dim=0)
    assert cosine.min() > 0.99  # the hue stays where the saturation is reduced


def test_colours_that_fit_are_not_changed():
    reference = torch.full((1, 3, 8, 8), 0.5)
    image = 0.4 + 0.2 * torch.rand(1, 3, 8, 8)
    assert torch.allclose(keep_luma(image, reference), image - luma(image) + 0.5, atol=1e-6)


@pytest.mark.parametrize("level", range(0, 256, 15))
def test_in_8_bits_the_luma_of_a_grey_image_is_exact(level):
    torch.manual_seed(level)
    reference = torch.full((1, 3, 64, 64), level / 255)
    result = keep_luma(torch.rand(1, 3, 64, 64) * 4 - 2, reference).mul(255).round()
    assert (luma(result) - level).abs().max() < 0.501
    assert (luma(result.double()).round() == level).float().mean() > 0.999


def test_gradients_are_finite_in_black_and_white():
    image = (torch.rand(1, 3, 8, 8) - 0.5).requires_grad_()
    reference = torch.zeros(1, 3, 8, 8)
    reference[..., 4:] = 1
    keep_luma(image, reference).square().sum().backward()
    assert image.grad.isfinite().all()


def test_a_generator_keeps_luma_after_copies_and_in_its_file(tmp_path):
    torch.manual_seed(0)
    generator = build_generator("compact", scale=1, features=8, depth=1).eval()
    generator.keep_luma = True
    image = torch.rand(1, 1, 12, 9).expand(1, 3, 12, 9)
    expected = generator(image)
    assert (luma(expected) - luma(image)).abs().max() < 1e-5
    assert torch.equal(copy.deepcopy(generator)(image), expected)
    save_generator(tmp_path / "g.safetensors", generator, {})
    loaded, metadata = load_generator(tmp_path / "g.safetensors")
    assert metadata["sr.keep_luma"] == "1"
    assert torch.equal(loaded(image), expected)
    assert not build_generator("compact", scale=1, features=8, depth=1).keep_luma
