import pytest
from skimage import data

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale
from srgan.images.png import write_png
from tests.helpers.clips import write_clip
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


def test_clips_are_scored_with_a_page(tmp_path):
    for name, size in (("clip.mp4", (48, 64)), ("big.mp4", (96, 128))):
        write_clip(tmp_path / name, 4, size=size)
    head, rows = columns(run("srgan", "metrics", "big.mp4", "--input", "clip.mp4", "-o", "page.html", cwd=tmp_path).stdout)
    assert head.split("  ")[-2:] == ["warping error", "flicker"]
    assert list(rows) == ["clip.mp4", "big.mp4"] and rows["clip.mp4"][-1] == "1.00"
    assert "big.mp4" in (tmp_path / "page.html").read_text()
    write_png(tmp_path / "a.png", PHOTO)
    for words, *given in (
        ("a.png: is no clip", "big.mp4", "a.png"),
        ("--input: fits clips", "a.png", "--input", "clip.mp4"),
        ("nothing.mp4: no such file", "nothing.mp4"),
    ):
        failed = run("srgan", "metrics", *given, cwd=tmp_path, check=False)
        assert failed.returncode == 1 and words in failed.stderr
