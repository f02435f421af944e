"""Names of results by a template."""

from pathlib import Path

import pytest

from srgan.inference.batch import Job, renamed
from srgan.inference.names import Named, check_template, named
from srgan.utils.errors import SrganError


def test_fields_are_filled(upscaler):
    photo = Path("in/a{0} b.tar.jpg")  # braces are no fields
    assert named(upscaler, "{stem}_{scale}x_{model}", None, None).stem(photo) == f"a{{0}} b.tar_2x_{upscaler.path.stem}"
    assert named(upscaler, None, 2.5, None).stem(photo) == "a{0} b.tar_x2.5"
    assert named(upscaler, "{size}-{stem}", None, "4k").stem(photo) == "4k-a{0} b.tar"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{stem}_{modl}", "'modl' is no field; did you mean model?"),
        ("{stem.__class__}", "'stem.__class__' is no field"),
        ("{}", "'' is no field"),
        ("{stem", "expected '}'"),
        ("{stem:>9}", "a field has no format"),
        ("{stem!r}", "a field has no format"),
        ("big", "all results would have one name. Add {stem}"),
        ("{stem}_{scale}", r"the scale differs from image to image .* Use {size}"),
        ("{stem}.jpg", "names no format. Leave out .jpg"),
        ("{stem}:{model}", "not every file system allows :"),
        ("../{stem}", "is not a plain file name"),
        ("{stem}/x", "is not a plain file name"),
    ],
)
def test_a_wrong_template_is_told(template, message):
    with pytest.raises(SrganError, match=message):
        check_template(template, several=True, sized=True)


def test_a_result_by_another_name_does_not_replace_an_image():
    jobs = [Job(Path("x/a.png"), Path("out/a.png")), Job(Path("out/big-a.png"), Path("out/x/big-a.png"))]
    assert renamed(jobs[:1], Named("big-{stem}", 2, "x2", "m")) == [Job(Path("x/a.png"), Path("out/big-a.png"))]
    with pytest.raises(SrganError, match=r"out/big-a\.png: a result would replace this image"):
        renamed(jobs, Named("big-{stem}", 2, "x2", "m"))
