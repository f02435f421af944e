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

    grid = tile, halo, 1 + seed % 3
    assert np.array_equal(tiling.upscale_tiled(upscale, image, scale, *grid), nearest(scale)(image))
    assert len(seen) == tiling.tile_count(*size, *grid)
    assert len(set(seen)) == 1  # one shape, so that no engine compiles twice
    assert seen[0][0] * seen[0][1] <= tile * tile


def test_strips_come_from_top_to_bottom_and_no_larger_than_a_tile_is_high():
    image = np.arange(100 * 30, dtype=np.uint16).reshape(100, 30)
    strips = list(tiling.upscale_strips(nearest(2), image, 2, 20, 3))
    assert max(map(len, strips)) <= 40
    assert np.array_equal(np.concatenate(strips), nearest(2)(image))


EXACT = {
    "srresnet": {"scale": 2, "features": 8, "depth": 2, "upsampling": "pixelshuffle"},
    "compact": {"scale": 2, "features": 8, "depth": 3},
    "compact-x1": {"scale": 1, "features": 8, "depth": 1, "unshuffle": 4},
    "span": {"scale": 2, "features": 4},
    "realplksr": {"scale": 2, "features": 8, "depth": 1, "kernel": 5, "upsampling": "dysample"},
    "swinir": {"scale": 2, "features": 4, "groups": 1, "depth": 2, "heads": 2, "window": 4},
    "nafnet-x1": {"scale": 1, "width": 4, "encoder_blocks": (0, 1), "middle_blocks": 1, "decoder_blocks": (0, 0)},
}


@pytest.mark.parametrize("name", EXACT)
def test_tiles_that_see_enough_give_the_whole_image(name):
    torch.manual_seed(0)
    network = build_generator(name.removesuffix("-x1"), **EXACT[name]).eval()
    for weight in network.parameters():
        weight.data += 0.1 * (weight == 0)  # some parts begin turned off
    reach, multiple, padding = network.receptive_field, network.multiple_of, network.padding
    image = np.random.default_rng(0).random((4 * reach + 19, 4 * reach + 33, 3), dtype=np.float32)

    @torch.inference_mode()
    def upscale(piece):
        return network(torch.from_numpy(piece.copy()).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()

    for tile in (4 * reach + multiple - 1, 4 * reach + 15):
        assert tiling.tile_count(*image.shape[:2], tile, reach, multiple) > 1
        difference = np.abs(tiling.upscale_tiled(upscale, image, network.scale, tile, reach, multiple, padding) - upscale(image))
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
