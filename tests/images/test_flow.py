import numpy as np
from skimage import data

from srgan.images.flow import closing_error, follow, holds, optical_flow

PHOTO = data.astronaut().mean(2).astype(np.uint8)[:160, 100:300]


def moved(image, right):
    return np.roll(image, right, 1)


def test_the_flow_of_a_moved_photograph_is_its_motion():
    flow = optical_flow(PHOTO, moved(PHOTO, 3))
    inside = flow[10:-10, 10:-10]
    assert np.abs(np.median(inside, (0, 1)) - (3, 0)).max() < 0.05
    restored = follow(moved(PHOTO, 3), flow)
    assert np.abs(restored.astype(int) - PHOTO)[10:-10, 10:-10].mean() < 1
    assert np.abs(moved(PHOTO, 3).astype(int) - PHOTO)[10:-10, 10:-10].mean() > 5


def test_a_flow_holds_where_the_way_back_ends_at_its_start():
    forward, backward = optical_flow(PHOTO, moved(PHOTO, 3)), optical_flow(moved(PHOTO, 3), PHOTO)
    assert holds(forward, backward)[10:-10, 10:-10].mean() > 0.98
    assert holds(forward, forward)[10:-10, 10:-10].mean() < 0.05
    outside = np.zeros((4, 6, 2), np.float32) + np.float32([3, 0])
    assert (closing_error(outside, -outside)[:, :3] == 0).all()
    assert not holds(outside, -outside)[:, 3:].any()


def test_small_images_and_colours_have_a_flow_too():
    flow = optical_flow(PHOTO[:5, :7], PHOTO[:5, :7])
    assert flow.shape == (5, 7, 2)
    for image in (data.astronaut()[:5, :7], np.dstack([data.astronaut()] * 2)[:5, :7, :4].astype(np.uint16)):
        assert follow(image, np.zeros_like(flow)).tolist() == image.tolist()
