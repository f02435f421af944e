import math

import cv2
import numpy as np
import pytest
from skimage import data

from srgan.metrics.flicker import flow_difference, warping_error
from srgan.metrics.metric import Sample
from srgan.metrics.registry import CLIP_METRICS, METRICS, metrics_table, open_metrics, score
from tests.helpers.project import ROOT

PHOTO, OTHER = data.astronaut()[:160, 100:300], data.chelsea()[100:260, 100:300]


def moved(image, right=2):
    return np.roll(image, right, 1)


def noisy(image, seed, level=12):
    noise = np.random.default_rng(seed).normal(0, level, image.shape)
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


def test_motion_alone_is_no_flicker_and_changing_detail_is():
    steady = warping_error(PHOTO, moved(PHOTO))
    assert steady < 1
    assert warping_error(PHOTO, PHOTO) == pytest.approx(0, abs=0.05)
    assert warping_error(noisy(PHOTO, 0), moved(noisy(PHOTO, 0))) < 2 * steady + 1  # noise that moves with the picture
    assert warping_error(noisy(PHOTO, 0), moved(noisy(PHOTO, 1))) > steady + 5


def test_a_cut_has_no_warping_error():
    assert math.isnan(warping_error(PHOTO, OTHER))


def test_tof_is_the_difference_of_the_motions_in_pixels():
    texture = cv2.GaussianBlur(noisy(np.full((160, 200, 3), 128), 0, 60), (0, 0), 2)  # flat regions would have no motion
    assert flow_difference((texture, moved(texture)), (texture, moved(texture))) == 0
    assert flow_difference((texture, texture), (texture, moved(texture))) == pytest.approx(2, abs=0.3)


def test_metrics_of_neighbours_need_the_frame_before():
    scorers = open_metrics(CLIP_METRICS[name] for name in ("psnr_y", "warping_error", "tof"))
    first = Sample(PHOTO, PHOTO, scale=4)
    assert list(score(first, scorers)) == ["psnr_y"]
    assert list(score(Sample(moved(PHOTO), moved(PHOTO), scale=4, before=first), scorers)) == ["psnr_y", "warping_error", "tof"]
    assert list(score(Sample(moved(PHOTO), before=Sample(PHOTO)), scorers)) == ["warping_error"]


def test_tlpips_is_zero_for_the_original_and_grows_with_flicker(mirror, monkeypatch):
    monkeypatch.setenv("SRGAN_MIRROR", str(mirror))
    scorers = open_metrics([CLIP_METRICS["tlpips"]])
    original = Sample(moved(PHOTO), moved(PHOTO), before=Sample(PHOTO, PHOTO))
    flickering = Sample(noisy(moved(PHOTO), 1), moved(PHOTO), before=Sample(noisy(PHOTO, 2), PHOTO))
    assert score(original, scorers)["tlpips"] == 0
    assert score(flickering, scorers)["tlpips"] > 1


def test_metrics_of_clips_are_not_those_of_images_and_the_docs_show_them():
    assert not {name for name, metric in METRICS.items() if "before" in metric.needs}
    assert metrics_table(CLIP_METRICS) in (ROOT / "docs" / "evaluation.md").read_text()
