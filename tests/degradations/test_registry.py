"""Rules that hold for every registered degradation."""

import json

import numpy as np
import pytest
import torch

from srgan.degradations.base import Batch, Drawing, Draws
from srgan.degradations.recipe import DRAWS, Applied, apply, apply_together
from srgan.degradations.registry import DEGRADATIONS

SIZES = ((40, 56), (64, 48), (33, 61))
CHANGING = [degradation for degradation in DEGRADATIONS.values() if degradation.draw]
pytestmark = pytest.mark.parametrize("degradation", CHANGING, ids=lambda degradation: degradation.name)


def photographs():
    """Return smooth colour images with edges, one per size."""
    images = []
    for number, (height, width) in enumerate(SIZES):
        y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        image = torch.stack([x, y, (x + y) / 2]) * 0.6 + 0.2
        image[:, height // 3 : height // 2, 5 + number : -9] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
        images.append(image)
    return images


def drawn_for(degradation, number, patch=False):
    if degradation.package:
        pytest.importorskip(degradation.package)
    height, width = SIZES[number]
    options = degradation.config(name=degradation.name)
    state = Drawing(Draws(np.random.default_rng(number).random(DRAWS).tolist()), height, width, (height // 2, width // 2), patch)
    return degradation.draw(options, state), (state.height, state.width)


def changed(degradation, images, drawn):
    """Return the images after the step, each in its own size. Whatever is outside an image in the batch is noise."""
    heights, widths = tuple(image.shape[1] for image in images), tuple(image.shape[2] for image in images)
    pixels = torch.rand(len(images), 3, max(heights), max(widths))
    for place, image in zip(pixels, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    result = degradation.apply(Batch(pixels, heights, widths), drawn)
    return [one[:, :h, :w] for one, h, w in zip(result.pixels, result.heights, result.widths, strict=True)]


@pytest.mark.parametrize("patch", [False, True])
def test_an_image_does_not_depend_on_its_batch(degradation, patch):
    images = photographs()
    drawn, sizes = zip(*(drawn_for(degradation, number, patch) for number in range(len(SIZES))), strict=True)
    chosen = [number for number, one in enumerate(drawn) if one is not None]
    together = changed(degradation, [images[number] for number in chosen], [drawn[number] for number in chosen])
    for number, result in zip(chosen, together, strict=True):
        (alone,) = changed(degradation, [images[number]], [drawn[number]])
        assert tuple(result.shape[1:]) == tuple(alone.shape[1:]) == sizes[number]
        torch.testing.assert_close(result, alone, rtol=0, atol=1e-5)
        assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_an_image_on_a_cpu_gets_what_it_gets_on_a_gpu(degradation):
    for number, image in enumerate(photographs()):
        drawn, _ = drawn_for(degradation, number)
        plan = [] if drawn is None else [Applied((0,), degradation.name, drawn)]
        before = image.clone()
        found, expected = apply([plan], image[None]), apply_together([plan], image[None])
        if degradation.name == "jpeg":  # libjpeg and `compress` round some levels to different sides
            assert float((found - expected).abs().mean()) < 0.2 / 255
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert torch.equal(image, before)


def test_a_draw_depends_on_its_numbers_alone(degradation):
    first, again = drawn_for(degradation, 0), drawn_for(degradation, 0)
    assert first == again
    assert json.loads(json.dumps(first[0])) == first[0]


def test_the_input_keeps_its_values(degradation):
    images = photographs()
    drawn, _ = drawn_for(degradation, 0)
    if drawn is None:
        pytest.skip("this draw changes nothing")
    pixels = images[0][None].clone()
    degradation.apply(Batch(pixels, SIZES[0][:1], SIZES[0][1:]), [drawn])
    assert torch.equal(pixels[0], images[0])
