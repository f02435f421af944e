"""Held-out pictures are found among training images, whatever was done to them; nothing else is."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from srgan.data import near_duplicates
from srgan.data.download.catalog import DATA_SETS
from srgan.data.prepare import BENCHMARKS
from srgan.images.read import read_image, read_rgb


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def find(references, image):
    return references.find(near_duplicates.fingerprint(np.ascontiguousarray(image)))


def crop(image, share, random):
    height, width = (round(side * share) for side in image.shape[:2])
    top, left = random.integers(image.shape[0] - height + 1), random.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


def resized(image, ratio, filter=cv2.INTER_AREA):
    return cv2.resize(np.ascontiguousarray(image), None, fx=ratio, fy=ratio, interpolation=filter)


# What is done to an image, and in how many of a hundred it must be seen through.
CHANGES = {
    "nothing": (lambda image, _: image, 100),
    "jpeg": (lambda image, _: jpeg(image, 30), 100),
    "half size": (lambda image, _: resized(image, 0.5), 100),
    "quarter size": (lambda image, _: resized(image, 0.25), 99),
    "double size": (lambda image, _: resized(image, 2, cv2.INTER_CUBIC), 100),
    "crop of 60 %": (lambda image, random: crop(image, 0.6, random), 99),
    "crop of 50 %": (lambda image, random: crop(image, 0.5, random), 97),
    "crop, resize, jpeg": (lambda image, random: jpeg(resized(crop(image, 0.6, random), 0.7), 60), 99),
    "mirrored crop": (lambda image, random: crop(image, 0.6, random)[:, ::-1], 99),
    "darker": (lambda image, _: (image * 0.8).astype(np.uint8), 100),
}


@pytest.fixture(scope="module")
def photos():
    files = [file for sources in DATA_SETS["sample"].sources.values() for file in sources[0].files]
    return {file.name: read_rgb(file.local) for file in files}


@pytest.fixture(scope="module")
def references(photos):
    made = near_duplicates.References()
    for name, image in photos.items():
        made.add(name, near_duplicates.fingerprint(image))
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(photos, references, change):
    change, _ = CHANGES[change]
    random = np.random.default_rng(0)
    for name, image in photos.items():
        found = find(references, change(image, random))
        assert found, name
        assert found[0][0] == name
        others = {other for other, _ in found} - {name}
        assert all(name.startswith("motorcycle") and other.startswith("motorcycle") for other in others)  # two views of one scene


@pytest.mark.parametrize("change", CHANGES)
def test_benchmarks_are_known_without_their_images(mirror, change):
    """The fingerprints that ship find B100 (which is BSDS500's val) after a crop, a re-encoding or a resize."""
    references, random = near_duplicates.References.load(BENCHMARKS), np.random.default_rng(0)
    change, least = CHANGES[change]
    paths = sorted((mirror / "datasets/b100").iterdir())[::6]
    found = [f"b100/{path.stem}" in dict(find(references, change(read_rgb(path), random))) for path in paths]
    assert 100 * np.mean(found) >= least - 6  # one of these 17 more may be missed


@pytest.mark.slow
def test_no_training_set_is_suspected_without_reason(mirror):
    """Of a third of three sets, one is a benchmark picture: BSDS500 has Set5's woman among its training images."""
    references = near_duplicates.References.load(BENCHMARKS)
    found = {}
    for name in ("bsds500", "t91", "kodak24"):
        paths = sorted((mirror / "datasets" / name).rglob("*.*"))
        for path in (path for number, path in enumerate(paths) if number % 3 == 0 or path.stem == "302003"):
            if shows := find(references, read_image(path)):
                found[path.name] = [reference for reference, _ in shows]
    assert found == {"302003.jpg": ["set5/woman"]}


def test_equal_pixels_are_exact_copies():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    references = near_duplicates.References()
    references.add("a/x", near_duplicates.fingerprint(image), "digest")
    assert references.find(near_duplicates.fingerprint(image), "digest") == [("a/x", 0)]


@pytest.mark.parametrize("shape", [(40, 60), (32, 32, 3), (33, 900, 3), (900, 33, 3)])
def test_images_without_a_feature_or_of_odd_shapes_do_no_harm(shape):
    references = near_duplicates.References()
    references.add("a/flat", near_duplicates.fingerprint(np.full(shape, 90, np.uint8)))
    references.add("a/noise", near_duplicates.fingerprint(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)))
    assert find(references, np.full(shape, 91, np.uint8)) == []
    assert find(near_duplicates.References(), np.full(shape, 91, np.uint8)) == []


def test_references_survive_saving(tmp_path, photos):
    references = near_duplicates.References()
    for name, image in photos.items():
        references.add(f"sample/{name}", near_duplicates.fingerprint(image), name)
    references.save(tmp_path / "references.npz")
    loaded = near_duplicates.References.load(tmp_path / "references.npz")
    assert find(loaded, photos["coffee.png"]) == find(references, photos["coffee.png"]) != []
    anything = near_duplicates.fingerprint(photos["coffee.png"])
    assert [loaded.find(anything, pixels=name) for name in photos] == [[(f"sample/{name}", 0)] for name in photos]
    assert near_duplicates.References.load(tmp_path / "references.npz", without={"sample"}).names == []
