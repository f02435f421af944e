"""Blending along the motion: flicker goes, motion, cuts and other numbers of bits stay."""

import numpy as np
import pytest
from skimage import data

from srgan.video.picture import Frame
from srgan.video.temporal import steadied

PHOTO, OTHER = data.astronaut()[:80, 100:260], data.chelsea()[100:180, 100:260]
SCALE = 2


def large(image):
    return image.repeat(SCALE, 0).repeat(SCALE, 1)


def clip(images, seed=0, noise=20):
    """Frames of a clip with upscaled frames whose detail changes from frame to frame."""
    draw = np.random.default_rng(seed)
    flickering = [large(image) + draw.normal(0, noise, large(image).shape) for image in images]
    return [
        (image, Frame(np.rint(noisy).clip(0, 255).astype(np.uint8), 10 * number, 9))
        for number, (image, noisy) in enumerate(zip(images, flickering, strict=True))
    ]


def errors(results, images):
    """Return the mean error of each frame, without a border that enters the picture."""
    inside = slice(24, -24), slice(24, -24)
    return [np.abs(frame.pixels.astype(int) - large(image))[inside].mean() for frame, image in zip(results, images, strict=True)]


@pytest.mark.parametrize("neighbours", [1, 3])
def test_noise_of_the_results_goes_while_the_picture_moves(neighbours):
    images = [np.roll(PHOTO, 2 * number, 1) for number in range(6)]
    pairs = clip(images)
    results = list(steadied(pairs, neighbours))
    assert [(frame.start, frame.duration) for frame in results] == [(10 * number, 9) for number in range(6)]
    before, after = errors([frame for _, frame in pairs], images), errors(results, images)
    assert max(after) < 0.8 * min(before)  # also the first and the last frame, which have neighbours on one side
    assert max(after[1:-1]) < 0.7 * min(before)


def test_frames_of_two_scenes_are_not_mixed():
    images = [PHOTO] * 3 + [OTHER] * 3
    alone = [*steadied(clip(images)[:3], 2), *steadied(clip(images)[3:], 2)]
    for frame, other in zip(steadied(clip(images), 2), alone, strict=True):
        assert frame.pixels.tobytes() == other.pixels.tobytes()


def test_something_new_in_a_frame_has_no_ghost_in_its_neighbours():
    images = [PHOTO.copy() for _ in range(3)]
    images[1][30:50, 60:90] = (255, 0, 0)
    results = list(steadied(clip(images, noise=0), 1))
    assert max(errors(results, images)) < 0.5
    assert np.abs(results[0].pixels.astype(int) - large(images[0]))[64:96, 124:176].max() < 8
    assert np.abs(results[1].pixels.astype(int) - large(images[1]))[64:96, 124:176].max() < 8


@pytest.mark.parametrize("shape", ["grey", "transparent", "16 bits"])
def test_all_kinds_of_frames_keep_their_type_and_levels(shape):
    image = {"grey": PHOTO[..., 0], "transparent": np.dstack([PHOTO, PHOTO[..., 0]]), "16 bits": PHOTO.astype(np.uint16) * 257}[shape]
    for frame in steadied([(image, Frame(large(image), number, 1)) for number in range(3)], 1):
        assert frame.pixels.dtype == image.dtype and frame.pixels.shape == large(image).shape
        step = 257 if image.dtype == np.uint16 else 1
        assert np.abs(frame.pixels.astype(int) - large(image)).max() <= 12 * step  # the flow is not exactly zero
        assert np.abs(frame.pixels.astype(int) - large(image)).mean() < 0.2 * step


def test_a_frame_depends_on_its_neighbours_alone():
    pairs = clip([np.roll(PHOTO, number, 1) for number in range(9)])
    whole = list(steadied(pairs, 2))
    part = list(steadied(pairs[2:], 2))
    assert [frame.pixels.tobytes() for frame in part[2:]] == [frame.pixels.tobytes() for frame in whole[4:]]


def test_a_clip_of_one_frame_stays_as_it_is():
    (pair,) = clip([PHOTO])
    assert [frame.pixels.tobytes() for frame in steadied([pair], 4)] == [pair[1].pixels.tobytes()]
