import numpy as np
import pytest
import torch

from srgan.inference import tiling, torch_upscale
from srgan.models.registry import build_generator


def nearest(scale):
    return lambda piece: piece.repeat(scale, 0).repeat(scale, 1)


@pytest.mark.parametrize("seed", range(60))
def test_every_pixel_comes_out_once_and_in_its_place(seed):
    random = np.random.default_rng(seed)
    low, high = np.array([(1, 80), (1, 80), (1, 4), (1, 64), (0, 12)]).T
    *size, scale, tile, halo = random.integers(low, high + 1).clip(low, low if seed == 0 else high).tolist()
    image = random.integers(0, 256, (*size, 3)[: 2 + seed % 2], dtype=np.uint8)
    seen = []

    def upscale(piece):
        seen.append(piece.shape)
        return nearest(scale)(piece)

    assert np.array_equal(tiling.upscale_tiled(upscale, image, scale, tile, halo), nearest(scale)(image))
    assert len(seen) == tiling.tile_count(*size, tile, halo)
    assert len(set(seen)) == 1  # one shape, so that no engine compiles twice
    assert seen[0][0] * seen[0][1] <= tile * tile


def test_strips_come_from_top_to_bottom_and_no_larger_than_a_tile_is_high():
    image = np.arange(100 * 30, dtype=np.uint16).reshape(100, 30)
    strips = list(tiling.upscale_strips(nearest(2), image, 2, 20, 3))
    assert max(map(len, strips)) <= 40
    assert np.array_equal(np.concatenate(strips), nearest(2)(image))


@pytest.mark.parametrize("name", ["srresnet", "compact"])
def test_tiles_that_see_enough_give_the_whole_image(name):
    torch.manual_seed(0)
    config = {"srresnet": {"features": 8, "depth": 2, "upsampling": "pixelshuffle"}, "compact": {"features": 8, "depth": 3}}[name]
    network = build_generator(name, scale=2, **config).eval()
    image = np.random.default_rng(0).random((70, 83, 3), dtype=np.float32)

    @torch.inference_mode()
    def upscale(piece):
        return network(torch.from_numpy(piece.copy()).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()

    for tile in (4 * network.receptive_field, 69):
        difference = np.abs(tiling.upscale_tiled(upscale, image, 2, tile, network.receptive_field) - upscale(image))
        assert difference.max() < 1e-5


def test_tiles_that_see_too_little_are_blended():
    """Each tile answers with its own level: where two meet there is a ramp, no edge."""
    levels = iter(range(0, 1000, 10))
    result = tiling.upscale_tiled(
        lambda piece: np.full(piece.shape, next(levels), np.float32), np.zeros((64, 200), np.float32), 1, 64, 1000
    )
    steps = np.diff(result[0])
    assert steps.max() <= 1.0 + 1e-6
    assert steps.min() >= 0
    assert result[0, 0] == 0
    assert result[0, -1] == (tiling.tile_count(64, 200, 64, 1000) - 1) * 10


def test_torch_models_enlarge_by_tiles_too():
    torch.manual_seed(0)
    network = build_generator("srresnet", scale=2, features=8, depth=1, upsampling="pixelshuffle").eval()
    image = np.random.default_rng(0).integers(0, 256, (90, 133, 3), dtype=np.uint8)
    whole, in_tiles = torch_upscale.upscale(network, image), torch_upscale.upscale(network, image, tile=4 * network.receptive_field)
    assert whole.shape == (180, 266, 3)
    assert np.abs(whole.astype(int) - in_tiles).max() <= 1  # the order of a sum may turn a rounding
