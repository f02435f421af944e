import json
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageFilter

from srgan.config.data import Checks
from srgan.data.checks import TooManyRejected, select, softness
from srgan.data.estimate import jpeg_quality, luma_of
from srgan.data.manifest import read_manifest
from srgan.images.read import read_rgb
from srgan.utils.workers import Workers
from tests.helpers.commands import run
from tests.helpers.project import write_params

HERE = partial(Workers, processes=1)


def _scene(seed, size=(160, 144)):
    """An image whose spectrum falls like that of a photograph, in 8 bits."""
    generator = np.random.default_rng(seed)
    height, width = size[::-1]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(generator.normal(size=(height, width))) / np.maximum(frequency, 1 / width)
    field = np.fft.irfft2(spectrum, (height, width))
    return Image.fromarray(np.clip(128 + 45 * field / field.std(), 0, 255).astype(np.uint8)).convert("RGB")


def _listing(folder, **licences):
    paths = sorted(path.name for path in folder.iterdir())
    return {"images": [{"path": name, "split": "train", "licence": licences.get(name[:-4], "CC0")} for name in paths]}


def _rejected(folder, listing=None, **checks):
    kept, rejected = select(folder, listing or _listing(folder), Checks(**checks), HERE)
    names = {record["image"]: [*record["reasons"]] for record in rejected}
    assert {record["path"] for record in kept["images"]}.isdisjoint(names)
    return names


@pytest.fixture
def folder(tmp_path):
    """Three sound images and one of each fault."""
    for seed in range(3):
        _scene(seed).save(tmp_path / f"a{seed}.png")
    scene = _scene(7)
    scene.filter(ImageFilter.GaussianBlur(1.5)).save(tmp_path / "blurred.png")
    scene.resize((80, 72)).resize((160, 144), Image.Resampling.BICUBIC).save(tmp_path / "enlarged.png")
    _scene(8).save(tmp_path / "jpeg.jpg", quality=40)
    Image.open(tmp_path / "jpeg.jpg").save(tmp_path / "recompressed.jpg", quality=93)
    _scene(9, (50, 48)).save(tmp_path / "tiny.png")
    return tmp_path


def test_each_fault_is_found_by_its_check(folder):
    assert _rejected(folder, max_softness=20.0) == {"blurred.png": ["max_softness"], "enlarged.png": ["max_softness"]}
    assert _rejected(folder, min_jpeg_quality=70) == {"jpeg.jpg": ["min_jpeg_quality"], "recompressed.jpg": ["min_jpeg_quality"]}
    assert _rejected(folder, min_side=64) == {"tiny.png": ["min_side"]}
    listing = _listing(folder, a1="research only", a2="CC-BY-4.0")
    assert _rejected(folder, listing, licenses=("cc0", "CC-BY*")) == {"a1.png": ["licenses"]}


def test_the_first_of_similar_images_stays(folder):
    photo = Image.open(folder / "a1.png")
    photo.crop((10, 8, 160, 144)).save(folder / "b.jpg", quality=85)
    assert "b.jpg" in _rejected(folder, near_duplicates=True)
    assert "a1.png" not in _rejected(folder, near_duplicates=True)


def test_without_checks_no_image_is_opened(tmp_path):
    listing = {"images": [{"path": "missing.png", "split": "train", "licence": "x"}]}
    assert select(tmp_path, listing, Checks(max_share=0.5), HERE) == (listing, [])


def test_test_images_and_damaged_files_stay(folder):
    (folder / "damaged.png").write_bytes(b"no image")
    listing = _listing(folder)
    listing["images"] = [record | {"split": "test" if record["path"] == "tiny.png" else "train"} for record in listing["images"]]
    assert _rejected(folder, listing, min_side=64, max_softness=20.0) == {"blurred.png": ["max_softness"], "enlarged.png": ["max_softness"]}


def test_too_large_a_share_fails_with_the_list(folder):
    with pytest.raises(TooManyRejected) as failed:
        _rejected(folder, max_softness=20.0, max_share=0.1)
    lines = str(failed.value).splitlines()
    assert "2 of 8 training images fail prepare.checks" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["blurred.png", "enlarged.png"]
    assert len(_rejected(folder, max_softness=20.0, max_share=0.25)) == 2


@pytest.mark.parametrize("deviation", [1.2, 2.0, 4.0, 6.0])
def test_weak_and_strong_blur_are_soft(deviation):
    scene = _scene(3)
    assert softness(luma_of(np.asarray(scene))) < 18
    assert softness(luma_of(np.asarray(scene.filter(ImageFilter.GaussianBlur(deviation))))) > 22


def test_softness_does_not_depend_on_the_contrast(folder):
    luma = luma_of(read_rgb(folder / "a0.png"))
    assert softness(luma / 2) == pytest.approx(softness(luma), abs=0.5)
    assert softness(np.full((40, 40), 128.0)) == 0


def test_the_quality_of_a_former_compression_is_found(folder):
    assert jpeg_quality(folder / "jpeg.jpg") == jpeg_quality(folder / "recompressed.jpg") == 40
    assert jpeg_quality(folder / "a0.png") is None


def test_prepare_leaves_the_images_out_and_lists_them(folder, tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    data = {"data.train": [str(folder)], "data.test": ["sample"], "prepare.scale": 2}
    write_params(project, data | {"prepare.checks.max_softness": 20.0})
    for stage in ("download", "prepare"):
        done = run("srgan", stage, cwd=project)
    assert "prepare.checks: left out 2 of 8 training images (max_softness 25.0%)" in done.stderr
    manifest = read_manifest(project / "data/prepared")
    assert [record["image"].split("/")[-1] for record in manifest["rejected"]] == ["blurred.png", "enlarged.png"]
    assert not {image["name"] for image in manifest["images"]} & {"blurred", "enlarged"}
    assert "Training images that fail the checks: 2" in (project / "reports/data.html").read_text()

    write_params(project, data | {"prepare.checks.max_softness": 20.0, "prepare.checks.max_share": 0.0})
    done = run("srgan", "prepare", cwd=project, check=False)
    assert done.returncode == 1
    assert "2 of 8 training images fail prepare.checks" in done.stderr
    assert "blurred.png" in (project / "reports/data.html").read_text()
    assert json.loads((project / "data/prepared/manifest.json").read_text()) == manifest
