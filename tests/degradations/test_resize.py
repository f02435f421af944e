"""Resizes against a reference in float64, and as MATLAB's bicubic reduction."""

import numpy as np
import pytest
import torch

from srgan import bicubic_downscale
from srgan.degradations import resize
from srgan.degradations.base import Batch
from srgan.degradations.recipe import Recipe

SIZES = [(40, 40), (40, 17), (17, 40), (40, 61), (31, 30), (12, 48)]


def reference(line, new, mode, antialias):
    """Return a resized line. Each new pixel is the weighted mean of the old ones around its centre, with mirrored or repeated ends."""
    old, ratio = len(line), len(line) / new
    width = max(ratio, 1.0) if antialias else 1.0
    result = np.zeros(new)
    for n in range(new):
        centre, total = (n + 0.5) * ratio - 0.5, 0.0
        for position in range(-3 * old, 4 * old):
            distance = abs(position - centre)
            if mode == "area":  # the part of the old pixel inside the new one
                weight = max(0.0, min(position + 0.5, centre + ratio / 2) - max(position - 0.5, centre - ratio / 2))
            elif mode == "bilinear":
                weight = max(0.0, 1 - distance / width)
            else:
                x = distance / width
                a = -0.5 if antialias else -0.75
                near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
                weight = near if x <= 1 else far if x < 2 else 0.0
            mirrored = position % (2 * old)
            inside = min(mirrored, 2 * old - 1 - mirrored) if antialias else min(max(position, 0), old - 1)
            result[n] += weight * line[inside]
            total += weight
        result[n] /= total
    return result


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_resizes_agree_with_the_reference(mode, antialias, monkeypatch):
    monkeypatch.setattr(resize, "BLOCK", 16)  # so that an image has several
    monkeypatch.setattr(resize, "_BLOCKS", resize._BlockCache())
    random = np.random.default_rng(0)
    for old, new in SIZES:
        line = random.random(old) * 0.6 + 0.2
        image = torch.tensor(line, dtype=torch.float32)[None, None, None].expand(1, 3, 5, -1)
        drawn = {"mode": mode, "height": 5, "width": new, "antialias": antialias}
        across = resize.resize(Batch(image, (5,), (old,)), [drawn]).pixels
        np.testing.assert_allclose(across[0, 1, 2].numpy(), reference(line, new, mode, antialias), atol=2e-6)
        down = resize.resize(Batch(image.mT, (old,), (5,)), [drawn | {"height": new, "width": 5}]).pixels
        torch.testing.assert_close(down, across.mT)
        on_cpu = torch.from_numpy(resize.RESIZE.alone(image[0].numpy(), drawn))
        torch.testing.assert_close(on_cpu, across[0], rtol=0, atol=2e-6)


def test_a_bicubic_downscale_is_matlabs():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    found, _ = Recipe("gaussian-0").degrade(image, 4, (0,))
    assert np.abs(found.astype(int) - bicubic_downscale(image, 4)).max() <= 1
    assert np.mean(found != bicubic_downscale(image, 4)) < 0.01


def test_the_cache_of_weights_is_bounded(monkeypatch):
    monkeypatch.setattr(resize, "CACHE_BYTES", 100_000)
    cache = resize._BlockCache()
    for new in range(10, 60):
        cache(40, new, "bicubic", True, 0)
    assert cache.bytes == sum(weights.nbytes for _, weights in cache.blocks.values()) <= 100_000
    assert len(cache.blocks) >= 2
