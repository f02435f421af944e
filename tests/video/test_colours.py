"""Y'CbCr to R'G'B' and back against the equations of ITU-T H.273 in float64."""

import numpy as np
import pytest

from srgan.video import colours


def reference(yuv, matrix, full, bits):
    """R'G'B' in 0..1 of samples of `bits`."""
    red, blue = colours.LUMA_WEIGHTS[matrix]
    unit, peak = 1 << (bits - 8), (1 << bits) - 1
    y, u, v = yuv.astype(np.float64).transpose(2, 0, 1)
    y = y / peak if full else (y - 16 * unit) / (219 * unit)
    u, v = ((c - 128 * unit) / (peak if full else 224 * unit) for c in (u, v))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], 2), 0, 1)


@pytest.mark.parametrize("matrix", colours.LUMA_WEIGHTS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_both_directions_are_exact_within_half_a_level(matrix, full, bits):
    unit = 1 << (bits - 8)
    yuv = np.random.default_rng(0).integers(16 * unit, 235 * unit, (40, 50, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    stored = yuv if bits == 8 else yuv << (16 - bits)
    white = np.iinfo(stored.dtype).max
    rgb = colours.to_rgb(stored, matrix, full, bits)
    assert np.abs(rgb - white * reference(yuv, matrix, full, bits)).max() <= 0.52
    inside = ((rgb > 0) & (rgb < white)).all(2)  # the others were clipped
    back = colours.to_yuv(rgb, matrix, full, bits)
    assert inside.any() and np.abs(back[inside].astype(int) - stored[inside]).max() <= 1


def test_white_black_and_opaque_are_the_ends_of_the_range():
    tenbit = np.array([[[940, 512, 512, 1023], [64, 512, 512, 0]]], np.uint16) << 6
    rgba = colours.to_rgb(tenbit, colours.BT2020, False, 10)
    assert rgba.tolist() == [[[65535] * 4, [0] * 4]]
    assert np.array_equal(colours.to_yuv(rgba, colours.BT2020, False, 10), tenbit)


def test_a_clip_without_a_matrix_gets_the_one_that_players_assume():
    assert [colours.assumed_matrix(*size) for size in ((720, 576), (1280, 720), (1920, 1080))] == [6, 1, 1]
