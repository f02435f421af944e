"""Training images of 16 bits: from the file to the step of a training."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from srgan.config import schema
from srgan.config.data import Prepare
from srgan.data.manifest import pairs
from srgan.data.packed_store import Store, as_picture
from srgan.data.prepare import prepare
from srgan.data.sampler import GpuPatchSampler, PatchSampler, PrefetchingSampler
from srgan.degradations.bicubic import bicubic_downscale
from srgan.images.read import as_grey, as_rgb, read_deep
from srgan.inference.torch_upscale import upscale
from srgan.models.registry import build_generator
from srgan.training.trainer import Trainer
from srgan.training.validation import Validation
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.data.test_packed_store import matlab_resize
from tests.helpers.project import write_params


def scan(seed, shape=(64, 72, 3)):
    """A smooth image whose values need 16 bits."""
    small = np.random.default_rng(seed).random((shape[0] // 8, shape[1] // 8, *shape[2:]))
    return np.rint(np.clip(cv2.resize(small, shape[1::-1], interpolation=cv2.INTER_CUBIC), 0, 1) * 65535).astype(np.uint16)


SCANS = {f"train/own/{number}.{'png' if number % 2 else 'tif'}": scan(number, (64, 72, 3)[: 3 - number % 2]) for number in range(6)}


@pytest.fixture
def raw(tmp_path):
    folder, listed = tmp_path / "raw", []
    for place, pixels in (SCANS | {"test/own/t.png": scan(99)}).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
        split = place.split("/")[0]
        listed.append({"path": place, "set": "own", "split": split, "sha256": sha256(path), "group": "", "licence": "own"})
    (folder / "manifest.json").write_text(json.dumps({"images": listed}))
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_the_store_has_all_bits_and_their_bicubic_lr_images(raw, tmp_path, channels):
    manifest = prepare(raw, tmp_path / "out", Prepare(bits=16, channels=channels))
    assert manifest["bits"] == 16
    assert manifest["train_sha256"] != prepare(raw, tmp_path / "eight", Prepare(channels=channels))["train_sha256"]
    store = Store(tmp_path / "out")
    store.verify()
    assert (store.dtype, store.white, store.channels) == (np.uint16, 65535, channels)
    sources = {place.removeprefix("train/").rsplit(".")[0]: pixels for place, pixels in SCANS.items()}
    for name, hr_view, lr_view in zip(store.names, store.hr, store.lr, strict=True):
        expected = sources[name] if channels == 3 else as_grey(sources[name])
        assert np.array_equal(hr_view, np.broadcast_to(np.atleast_3d(expected), hr_view.shape))
        assert np.abs(lr_view - 257 * matlab_resize(hr_view / 257, lr_view.shape[:2], 4)).max() < 0.6
    assert len(np.unique(store.hr[0])) > 256
    picture = as_picture(store.hr[0])
    assert (picture.shape, picture.dtype) == ((64, 72, 3), np.uint8)
    assert np.abs(picture * 257.0 - store.hr[0]).max() <= 128
    for part, dtype in (("validation", np.uint16), ("test", np.uint8)):
        (pair,) = pairs(tmp_path / "out", part)
        assert {image.dtype for image in pair.read(deep=True)} == {np.dtype(dtype)}
        assert {image.dtype for image in pair.read()} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_validation_measures_all_bits(raw, tmp_path, channels):
    prepare(raw, tmp_path / "out", Prepare(bits=16, channels=channels))
    (pair,) = pairs(tmp_path / "out", "validation")
    model = build_generator("compact", scale=4, features=8, depth=1, channels=channels).eval()

    def distance(sr_image, hr_image, lr_image):
        assert sr_image.max() <= 1 and lr_image.shape[1] == 3
        return float((sr_image - hr_image).abs().mean()), 0.0

    scores, _ = Validation(4, torch.device("cpu")).begin([pair], model, distance)()
    original, lr_image = pair.read(deep=True)
    sr_image = upscale(model, lr_image)
    assert sr_image.dtype == np.uint16 and len(np.unique(sr_image)) > 256
    error = sr_image[4:-4, 4:-4] / 257 - as_rgb(original)[4:-4, 4:-4] / 257
    luma = error @ (np.array([65.481, 128.553, 24.966]) / 255 if original.ndim == 3 else np.array([0.299, 0.587, 0.114]))
    assert scores["val_psnr_y"] == pytest.approx(10 * np.log10(255**2 / np.square(luma).mean()), abs=1e-3)
    whole = np.abs(sr_image.astype(float) - as_rgb(original)).mean() / 65535
    assert scores["val_loss"] == pytest.approx(whole, rel=1e-4)


def test_images_of_8_bits_join_them(raw, tmp_path):
    eight = (scan(7) >> 8).astype(np.uint8)
    cv2.imwrite(str(raw / "train/own/1.png"), eight)
    prepare(raw, tmp_path / "out", Prepare(bits=16))
    store = Store(tmp_path / "out")
    view = dict(zip(store.names, store.hr, strict=True)).get("own/1")
    assert view is None or np.array_equal(view, eight[..., ::-1].astype(np.uint16) * 257)  # None: it was drawn for the validation


@pytest.mark.parametrize("recipe", ["bicubic", "gaussian-20"])
def test_a_step_trains_with_all_bits(raw, tmp_path, recipe):
    prepare(raw, tmp_path / "out", Prepare(bits=16, channels=1, recipe=recipe))
    patches = PatchSampler(Store(tmp_path / "out"), 4, 32, 0)
    batch = patches(1)
    assert {each.dtype for each in batch} == {np.dtype(np.uint16)}
    ahead = PrefetchingSampler(patches, torch.device("cpu"))(1)
    assert all(np.array_equal(ours.numpy(), theirs) for ours, theirs in zip(ahead, batch, strict=True))
    assert not GpuPatchSampler.fits(patches.store, torch.device("cpu"))
    assert patches.lr_patches(1).dtype == np.uint8  # for the calibration of int8
    loaded = schema.load(write_params(tmp_path, {"pretrain.batch_size": 4, "pretrain.patch_size": 32}))
    generator = build_generator("compact", scale=4, features=8, depth=1, channels=1)
    subject = Trainer(loaded.pretrain, loaded.runtime.pretrain, generator, None, patches, [])
    hr_image, lr_image = subject.batch(1, 0.0)
    assert np.array_equal(np.rint(hr_image.numpy().astype(np.float64) * 65535), batch[0].transpose(0, 3, 1, 2))
    levels = lr_image.numpy().astype(np.float64) * 65535
    assert np.abs(levels - np.rint(levels)).max() < 0.01
    assert (np.abs(levels / 257 - np.rint(levels / 257)) > 0.01).mean() > 0.9  # not in steps of 8 bits
    subject.step(1)
    assert all(math.isfinite(float(value)) for value in subject.running_sums.values())


def test_transparency_is_composited_with_all_bits(tmp_path):
    pixels = np.dstack([scan(3)[..., ::-1], np.full((64, 72), 16384, np.uint16)])
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    expected = np.rint(scan(3) * (16384 / 65535) + 65535 * (1 - 16384 / 65535))
    assert np.abs(read_deep(tmp_path / "a.png") - expected).max() <= 1


def test_one_rounding_makes_the_lr_image(tmp_path):
    image = scan(5)
    assert bicubic_downscale(image, 4).dtype == np.uint16
    assert np.abs(bicubic_downscale(image, 4) / 257 - bicubic_downscale((image // 257).astype(np.uint8), 4)).max() < 2


def test_what_has_8_bits_only_is_refused(raw, tmp_path):
    with pytest.raises(ValueError, match="pillow resizes images of 8 bits only"):
        Prepare(bits=16, kernel="pillow")
    listing = json.loads((raw / "manifest.json").read_text())
    for image in listing["images"]:
        if image["split"] == "train":
            image["lr"] = [{"path": image["path"], "sha256": image["sha256"], "scale": 4}]
    (raw / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(SrganError, match=r"has LR images of its own, which are read with 8 bits\. Set prepare\.bits to 8"):
        prepare(raw, tmp_path / "out", Prepare(bits=16))
