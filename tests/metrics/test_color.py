import numpy as np
import pytest
import skimage.color
import skimage.data

from srgan.metrics.color import ciede2000, colorfulness, lab
from srgan.metrics.metric import Sample
from srgan.metrics.registry import METRICS
from tests.helpers.project import script

calibration = script("calibration")
CAT = skimage.data.chelsea()[:100, :120]


@pytest.mark.parametrize(("first", "second", "expected"), calibration.SHARMA)
def test_the_published_pairs_have_the_published_differences(first, second, expected):
    for a, b in ((first, second), (second, first)):
        assert ciede2000(np.array(a), np.array(b)) == pytest.approx(expected, abs=1e-4)


def test_images_have_the_differences_of_scikit_image():
    random = np.random.default_rng(0)
    noisy = np.clip(CAT + random.integers(-40, 41, CAT.shape), 0, 255).astype(np.uint8)
    noisy[:5], noisy[5:9] = 0, 255
    noisy[9:20] = noisy[9:20, :, :1]
    expected = skimage.color.deltaE_ciede2000(skimage.color.rgb2lab(noisy), skimage.color.rgb2lab(CAT))
    assert np.abs(lab(noisy) - skimage.color.rgb2lab(noisy)).max() < 1e-3
    assert np.abs(ciede2000(lab(noisy), lab(CAT)) - expected).max() < 5e-3
    assert METRICS["ciede2000"].score(Sample(noisy, CAT)) == pytest.approx(expected.mean(), abs=1e-4)


def test_equal_images_have_no_difference_and_a_grey_original_counts_as_grey():
    grey = CAT[..., 0]
    assert METRICS["ciede2000"].score(Sample(CAT, CAT)) == 0
    assert METRICS["ciede2000"].score(Sample(np.dstack([grey] * 3), grey)) == 0


def test_colourfulness_is_that_of_its_formula():
    assert colorfulness(np.dstack([CAT[..., 0]] * 3)) == 0
    red, green, blue = (CAT[..., index].astype(float) for index in range(3))
    first, second = red - green, (red + green) / 2 - blue
    expected = np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean())
    assert colorfulness(CAT) == pytest.approx(expected)
    assert colorfulness(CAT) > colorfulness((CAT.mean(axis=2, keepdims=True) * 0.5 + CAT * 0.5).astype(np.uint8))
