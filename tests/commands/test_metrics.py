import pytest
from skimage import data

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale
from srgan.images.png import write_png
from tests.helpers.commands import run

PHOTO = data.astronaut()[:192, :256]


@pytest.fixture
def folder(tmp_path):
    for name, image in (("a", PHOTO), ("b", PHOTO[::-1].copy())):
        write_png(tmp_path / "originals" / f"{name}.png", image)
        write_png(tmp_path / "results" / f"{name}.png", bicubic_upscale(bicubic_downscale(image, 4), 4))
    return tmp_path


def columns(output):
    head, *rows = output.splitlines()
    return head, {row.split()[0]: row.split()[1:] for row in rows}


def test_images_alone_are_scored_by_what_needs_no_original(folder):
    head, rows = columns(run("srgan", "metrics", "results", cwd=folder).stdout)
    assert list(rows) == ["results/a.png", "results/b.png", "mean"]
    assert "NIQE" in head
    assert "hatch" in head
    assert "PSNR" not in head


def test_originals_add_the_metrics_that_compare(folder, mirror):
    head, rows = columns(run("srgan", "metrics", "results/a.png", "--against", "originals", cwd=folder, SRGAN_MIRROR=str(mirror)).stdout)
    assert list(rows) == ["results/a.png"]
    assert head.split()[:2] == ["PSNR-Y,", "dB"]
    assert "LPIPS" in head
    assert 20 < float(rows["results/a.png"][0]) < 35


def test_a_missing_original_and_another_size_are_errors_that_name_the_file(folder):
    write_png(folder / "results" / "c.png", PHOTO)
    failed = run("srgan", "metrics", "results", "--against", "originals", cwd=folder, check=False)
    assert failed.returncode == 1
    assert "results/c.png: originals has no file called c" in failed.stderr
    write_png(folder / "originals" / "c.png", PHOTO[:64])
    failed = run("srgan", "metrics", "results/c.png", "--against", "originals", cwd=folder, check=False)
    assert "has 256x192 pixels, its original originals/c.png has 256x64" in failed.stderr
    assert "no such file or folder" in run("srgan", "metrics", "results/a.png", "--against", "nothing", cwd=folder, check=False).stderr
