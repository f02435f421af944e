"""Sizes in pixels."""

import pytest

from srgan.images.sizes import Size, named_size, remark
from srgan.utils.errors import SrganError


@pytest.mark.parametrize(
    ("size", "image", "result"),
    [
        (Size(width=1920), (600, 400), (1920, 1280)),
        (Size(height=1080), (600, 400), (1620, 1080)),
        (Size(long_side=900), (600, 400), (900, 600)),
        (Size(long_side=900), (400, 600), (600, 900)),
        (Size(width=1), (10, 3000), (1, 300)),
        (Size(height=1), (3000, 10), (300, 1)),
        (Size(at_least=(3840, 2160)), (1920, 1080), (3840, 2160)),
        (Size(at_least=(3840, 2160)), (1080, 1920), (2160, 3840)),  # upright
        (Size(at_least=(3840, 2160)), (600, 400), (3840, 2560)),
        (Size(at_least=(3840, 2160)), (1000, 400), (5400, 2160)),
        (Size(at_least=(3840, 2160)), (4000, 2200), (4000, 2200)),  # larger
    ],
)
def test_the_aspect_ratio_stays(size, image, result):
    assert size.of(*image) == result


@pytest.mark.parametrize("image", [(601, 397), (333, 777), (1279, 719), (3, 1000)])
def test_what_must_be_covered_is_covered(image):
    width, height = Size(at_least=(3840, 2160)).of(*image)
    assert max(width, height) >= 3840
    assert min(width, height) >= 2160
    assert min(width - 3840, height - 2160, width - 2160, height - 3840) <= 1  # no larger than needed


def test_options_name_one_size():
    assert named_size(None, None, None, None, "4K") == Size(at_least=(3840, 2160), name="4k")
    assert named_size(None, None, None, None, "2000x3000").at_least == (3000, 2000)
    assert named_size(None, None, 1080, None, None).mark == "h1080"
    assert named_size(2.5, None, None, None, None) is None
    with pytest.raises(SrganError, match="--height and --long-side: name one size"):
        named_size(None, None, 10, 20, None)
    for wrong in ("4", "x", "0x10", "10x", "-1x5"):
        with pytest.raises(SrganError, match=f"--at-least {wrong}: no size"):
            named_size(None, None, None, None, wrong)


def test_a_size_that_the_model_does_not_make_is_remarked():
    assert "x4, and interpolation (Lanczos) x1.6 more" in remark((3840, 2560), (600, 400), 4)
    assert "has the wanted size already" in remark((600, 400), (600, 400), 4)
    assert "is larger than wanted" in remark((300, 200), (600, 400), 4)
    assert remark((2400, 1600), (600, 400), 4) == remark((2000, 1333), (600, 400), 4) == remark((600, 400), (600, 400), 1) == ""
