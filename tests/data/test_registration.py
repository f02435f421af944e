"""Own LR images: their position and colors are measured, reported and, on request, corrected."""

import importlib.util
import json
import logging
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from srgan.config import schema
from srgan.config.project import Project
from srgan.data.manifest import pairs
from srgan.data.packed_store import Store
from srgan.data.registration import Registration, correct, measure
from srgan.degradations.bicubic import bicubic_downscale
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.stages import download, prepare
from tests.helpers.project import write_params

MARGIN = 16  # pixels of the photograph


@cache
def photo(name="chelsea.png"):
    return read_rgb(Path(importlib.util.find_spec("skimage").origin).parent / "data" / name)


def cut(right, down, name="chelsea.png", side=(256, 320)):
    """A region of a photograph whose content is moved by whole pixels."""
    top, left = MARGIN - down, MARGIN - right
    return np.ascontiguousarray(photo(name)[top : top + side[0], left : left + side[1]])


def displaced(scale, right, down, finer=2, name="chelsea.png"):
    """HR image, and LR image displaced by ``right / (scale * finer)`` LR pixels. Nothing is interpolated."""
    hr_image = bicubic_downscale(cut(0, 0, name), finer)
    return hr_image, bicubic_downscale(bicubic_downscale(cut(right, down, name), finer), scale)


def worn(image, seed=0):
    """Blur, other colors, noise and JPEG artifacts."""
    noise = np.random.default_rng(seed).normal(0, 5, image.shape)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) * (1.1, 0.95, 0.85) + (-6, 8, 12) + noise
    _, encoded = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 75])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)  # the order of the channels does not matter


@pytest.mark.parametrize("change", [np.array, worn])
@pytest.mark.parametrize(("scale", "right", "down"), [(1, 3, -1), (1, -6, 5), (2, 1, 2), (2, -9, 7)])
def test_a_displacement_is_measured_and_corrected_to_a_tenth_of_a_pixel(scale, right, down, change):
    hr_image, lr_image = displaced(scale, right, down)
    lr_image = change(lr_image)
    found = measure(hr_image, lr_image, scale)
    assert found.shift == pytest.approx((right / scale / 2, down / scale / 2), abs=0.05)
    assert found.error < 0.05
    hr_image, lr_image, corrections = correct(hr_image, lr_image, scale, found, color=False)
    assert corrections == ["position"]
    assert hr_image.shape[:2] == tuple(scale * side for side in lr_image.shape[:2])
    assert measure(hr_image, lr_image, scale).largest < 0.1


def test_rotation_and_zoom_are_corrected_too():
    hr_image = cut(0, 0)
    angle, zoom = np.deg2rad(0.4), 1.003
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(hr_image.shape[:2]) - 1) / 2
    planes = np.moveaxis(hr_image, 2, 0)
    turned = np.dstack([ndimage.affine_transform(plane, turn, centre - turn @ centre, mode="mirror") for plane in planes])
    found = measure(hr_image, turned, 1)
    assert 1 < found.largest < 2
    corrected = correct(hr_image, turned, 1, found, color=False)
    assert measure(*corrected[:2], 1).largest < 0.1


def test_the_common_subsampling_without_a_filter_is_a_shift():
    hr_image = cut(0, 0)
    assert measure(hr_image, hr_image[::4, ::4], 4).shift == pytest.approx((0.375, 0.375), abs=0.06)


def test_colors_are_measured_in_levels_and_corrected():
    hr_image, lr_image = displaced(2, 3, 1)
    tinted = np.rint(lr_image * (0.8, 1.0, 0.9) + (20, 0, -5)).clip(0, 255).astype(np.uint8)
    found = measure(hr_image, tinted, 2)
    assert found.gain == pytest.approx((1.25, 1, 1.111), abs=0.02)
    assert found.offset == pytest.approx((-25, 0, 5.6), abs=3)
    assert found.color_difference > 3
    *_, position = correct(hr_image, tinted, 2, found, color=False)
    hr_image, corrected, both = correct(hr_image, tinted, 2, found, color=True)
    assert (position, both) == (["position"], ["position", "color"])
    assert measure(hr_image, corrected, 2).color_difference < 0.5


@pytest.mark.parametrize("grey_hr", [True, False])
def test_a_grayscale_lr_image_stays_gray(grey_hr):
    hr_image, lr_image = displaced(1, 2, 1)
    grey = cv2.cvtColor(lr_image, cv2.COLOR_RGB2GRAY) // 2 + 40
    hr_image = cv2.cvtColor(hr_image, cv2.COLOR_RGB2GRAY) if grey_hr else hr_image
    found = measure(hr_image, grey, 1)
    assert len(set(found.gain)) == len(set(found.offset)) == 1
    assert found.gain[0] == pytest.approx(2, abs=0.05)
    assert correct(hr_image, grey, 1, found, color=True)[1].ndim == 2
    assert measure(hr_image, np.dstack([grey] * 3), 1) == found


def test_an_aligned_pair_is_not_resampled():
    hr_image, lr_image = displaced(2, 0, 0)
    found = measure(hr_image, lr_image, 2)
    assert (found.shift, found.color_difference) == ((0, 0), 0)
    same_hr, same_lr, corrections = correct(hr_image, lr_image, 2, found, color=True)
    assert same_hr is hr_image
    assert same_lr is lr_image
    assert not corrections


def noisy(pattern):
    return (128 + 60 * pattern[..., None] + np.random.default_rng(0).normal(0, 3, (128, 128, 3))).clip(0, 255).astype(np.uint8)


ROW, COLUMN = np.mgrid[:128, :128]


@pytest.mark.parametrize(
    ("reason", "hr_image", "lr_image"),
    [
        ("flat", np.full((128, 128, 3), 90, np.uint8), np.full((128, 128, 3), 80, np.uint8)),
        ("flat", noisy(0 * ROW), noisy(0 * ROW)[::-1]),
        ("several positions match", noisy(np.sin(ROW)), noisy(np.sin(ROW + 1))),
        ("several positions match", noisy(np.sin(ROW) * np.sin(COLUMN)), noisy(np.sin(ROW + 1) * np.sin(COLUMN))),
        ("several positions match", noisy(ROW > 60), noisy(ROW > 62)),
        ("no match", cut(0, 0), cut(0, 0, "coffee.png")),
        ("no match", cut(0, 0), cut(12, 0)),
        ("too small", cut(0, 0)[:62, :62], cut(0, 0)[:62:2, :62:2]),
    ],
)
def test_what_cannot_be_measured_has_a_reason_and_stays(reason, hr_image, lr_image):
    scale = hr_image.shape[0] // lr_image.shape[0]
    found = measure(hr_image, lr_image, scale)
    assert found == Registration(reason)
    assert found.record() == {"reason": reason}
    assert correct(hr_image, lr_image, scale, found, color=True)[1] is lr_image


# -- in the stage ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Pairs of the user's own at scale 2: displaced, tinted, with 16 bits, flat and without relation. All are for training but one."""
    root = tmp_path_factory.mktemp("own")
    for name in ("coffee.png", "rocket.jpg", "chelsea.png", "astronaut.png"):
        hr_image, lr_image = displaced(2, 5, -3, name=name)
        part = "test" if name == "astronaut.png" else "train"
        write_png(root / "mine" / part / "HR" / f"{Path(name).stem}.png", hr_image)
        (root / "mine" / part / "LR").mkdir(exist_ok=True)
        deep = np.rint(lr_image[..., ::-1].astype(float) * 257 * (0.9, 1, 1)).astype(np.uint16)
        cv2.imwrite(str(root / "mine" / part / "LR" / f"{Path(name).stem}.png"), deep)
    write_png(root / "mine/train/HR/flat.png", np.full((64, 64, 3), 90, np.uint8))
    write_png(root / "mine/train/LR/flat.png", np.full((32, 32, 3), 80, np.uint8))
    write_png(root / "mine/train/HR/wrong.png", cut(0, 0, "brick.png")[:128])
    write_png(root / "mine/train/LR/wrong.png", cut(0, 0, "grass.png")[:64, :160])
    recipe = {"set": str(root / "mine"), "recipe": "jpeg-50"}
    data = {"data.train": [str(root / "mine")], "data.test": [str(root / "mine"), recipe], "prepare.scale": 2}
    write_params(root, data)
    download.run(Project(root), schema.load(root / "params.yaml"))
    return Project(root), data


@pytest.fixture
def prepared(project, caplog):
    caplog.set_level(logging.INFO)
    of, data = project

    def run(align):
        caplog.clear()
        write_params(of.root, data | {"prepare.align": align})
        prepare.run(of, schema.load(of.params), processes=1)
        manifest = json.loads((of.prepared / "manifest.json").read_text())
        images = {(image["set"], image["name"]): image for image in manifest["images"]}
        return manifest, images, of.data_card.read_text(), caplog.text

    return run


def test_prepare_reports_misaligned_pairs_and_corrects_them_on_request(project, prepared):
    folder = project[0].prepared
    before, images, card, log = prepared("none")
    found = images["mine", "test_astronaut"]["registration"]
    assert found["shift"] == pytest.approx([1.25, -0.75], abs=0.05)
    assert "registration" not in images["mine+jpeg-50", "test_astronaut"]
    assert "registration of 4 own LR images: displacement median 1.4" in log
    assert "4 own LR images are displaced by more than 0.25 LR pixels" in log
    assert "prepare.align: position moves them" in log
    assert "not measurable (flat): 1 own LR image left unchanged: mine/train_flat" in log
    assert "not measurable (no match): 1 own LR image left unchanged: mine/train_wrong. Look at them" in log
    assert "Largest displacements" in card
    assert "flat: 1 in mine, " in card
    assert "as given and corrected" not in card
    given = {(pair.set, pair.name): pair.read() for pair in pairs(folder, "test")}

    after, images, card, log = prepared("position")
    assert images["mine", "test_astronaut"]["registration"]["corrected"] == ["position"]
    assert "as given and corrected" in card
    assert "prepare.align: position moves" not in log
    assert "prepare.align: position+color gives" in log
    assert {key: before[key] != after[key] for key in ("train_sha256", "test_sha256")} == {"train_sha256": True, "test_sha256": True}
    for pair in pairs(folder, "test"):  # the set and its recipe share the HR image
        hr_image, lr_image = pair.read()
        assert hr_image.shape[0] == 2 * lr_image.shape[0] < given[pair.set, pair.name][0].shape[0]
        assert measure(hr_image, lr_image, 2).largest < 0.1
    store = Store(folder)
    for name, hr_view, lr_view in zip(store.names, store.hr, store.lr, strict=True):
        found = measure(hr_view, lr_view, 2)
        assert found.largest < 0.1 or name in ("mine/train_flat", "mine/train_wrong")

    colored, images, _, log = prepared("position+color")
    assert images["mine", "test_astronaut"]["registration"]["corrected"] == ["position", "color"]
    assert len({manifest["train_sha256"] for manifest in (before, after, colored)}) == 3
    assert "levels of color" not in log
    again, *_ = prepared("none")
    assert again == before
