import functools
import math
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from srgan.data.download import weights
from srgan.data.download.catalog import File, Weights
from srgan.degradations import bicubic
from srgan.images.read import as_rgb, read_image, read_rgb
from srgan.metrics.artifacts import artifact_metrics, checkerboard
from srgan.metrics.lpips import Lpips
from srgan.metrics.psnr_ssim import compare, luma, psnr_ssim, psnr_ssim_y


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    noise = random.normal(0, 12, first.shape)
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


def test_psnr_and_ssim_equal_skimage_in_float64(images):
    first, second = images
    figures = psnr_ssim(first, second, border=4)
    a, b = (image[4:-4, 4:-4].astype(np.float64) for image in images)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, rgb = structural_similarity(a, b, channel_axis=2, full=True, **options)
    assert figures["psnr_rgb"] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)
    assert figures["ssim_rgb"] == pytest.approx(rgb[5:-5, 5:-5].mean(), abs=1e-5)
    y_a, y_b = (luma(image[4:-4, 4:-4]).astype(np.float64) for image in images)
    _, similarity = structural_similarity(y_a, y_b, full=True, **options)
    assert figures["psnr_y"] == pytest.approx(peak_signal_noise_ratio(y_a, y_b, data_range=255), abs=1e-4)
    assert figures["ssim_y"] == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-5)


def test_luma_is_matlabs():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colours)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966], abs=1e-3)


def test_equal_images_are_infinitely_close(images):
    figures = psnr_ssim(images[0], images[0], border=2)
    assert figures["psnr_y"] == math.inf
    assert figures["ssim_y"] == pytest.approx(1)


def test_the_border_does_not_count(images):
    changed = images[0].copy()
    changed[:4] = 0
    assert psnr_ssim(changed, images[0], border=4)["psnr_rgb"] == math.inf
    assert psnr_ssim(changed, images[0], border=3)["psnr_rgb"] < 40


def test_ssim_says_what_is_too_small():
    with pytest.raises(ValueError, match="at least 11x11"):
        compare(np.zeros((10, 20)), np.zeros((10, 20)))


TABLE = {  # scores of bicubic with 8-bit LR images: PSNR-Y, SSIM-Y
    ("set5", 2): (33.68, 0.9305),
    ("set5", 3): (30.40, 0.8690),
    ("set5", 4): (28.43, 0.8113),
    ("set14", 2): (30.24, 0.8692),
    ("set14", 3): (27.54, 0.7746),
    ("set14", 4): (26.00, 0.7031),  # the grey one, bridge, scored as grey
    ("b100", 2): (29.56, 0.8436),
    ("b100", 3): (27.21, 0.7390),
    ("b100", 4): (25.96, 0.6682),
}


@pytest.mark.parametrize(("name", "scale"), [pytest.param(*entry, marks=[pytest.mark.slow] * (entry[0] == "b100")) for entry in TABLE])
def test_bicubic_scores_are_the_literatures(mirror, name, scale):
    scores = []
    for path in sorted((mirror / "datasets" / name).iterdir()):
        hr_image = bicubic.modcrop(read_image(path), scale)
        sr_image = bicubic.bicubic_upscale(bicubic.bicubic_downscale(as_rgb(hr_image), scale), scale)
        scores.append(psnr_ssim_y(sr_image, hr_image, border=scale))
    psnr, ssim = np.mean(scores, axis=0)
    assert psnr == pytest.approx(TABLE[name, scale][0], abs=0.01)
    assert ssim == pytest.approx(TABLE[name, scale][1], abs=0.0005)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(("network", "first", "second"), [("alex", 0.7219, 0.1376), ("squeeze", 0.7110, 0.1479)])
def test_lpips_of_the_examples_is_the_published(mirror, empty_cache, network, first, second):
    lpips = Lpips(network)
    folder = mirror / "weights" / "lpips-examples"
    reference = read_rgb(folder / "ex_ref.png")
    assert lpips(reference, read_rgb(folder / "ex_p0.png")) == pytest.approx(first, abs=0.001)
    assert lpips(reference, read_rgb(folder / "ex_p1.png")) == pytest.approx(second, abs=0.001)


@functools.cache
def random_backbone(name):
    """Weights that know nothing, named as torchvision names them."""
    from srgan.utils import compat  # noqa: F401 (must come before lpips)

    import lpips  # isort: skip

    torch.manual_seed(0)
    state = lpips.LPIPS(net=name, pnet_rand=True, verbose=False).net.state_dict()
    return {"features" + key[key.index(".") :]: value for key, value in state.items()}


TILED = [(network, size) for network in ("alex", "squeeze") for size in ((300, 290), (401, 90), (48, 400), (47, 270))]


@pytest.mark.parametrize(("network", "size"), [*TILED, pytest.param("vgg", (47, 270), marks=pytest.mark.slow)])
def test_lpips_in_tiles_is_that_of_the_whole_image(monkeypatch, network, size):
    monkeypatch.setattr(weights, "load_weights", lambda _: random_backbone(network))
    lpips = Lpips(network)
    random = np.random.default_rng(0)
    hr_image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    sr_image = np.clip(hr_image + random.normal(0, np.linspace(0, 60, size[1])[None, :, None], hr_image.shape), 0, 255).astype(np.uint8)
    tensors = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in (sr_image, hr_image))
    with torch.inference_mode():
        expected = float(lpips._network(*tensors))  # the package's own way
    assert lpips(sr_image, hr_image) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr("srgan.metrics.lpips._TILE", 128)
    assert lpips(sr_image, hr_image) == pytest.approx(expected, rel=1e-4)


def test_what_the_scores_do_not_see():
    random = np.random.default_rng(0)
    hr_image = cv2.GaussianBlur(random.integers(0, 256, (301, 200, 3), dtype=np.uint8), (0, 0), 2)
    same = artifact_metrics(hr_image, hr_image, 4)
    assert (same["color_shift"], same["sharpness"]) == (0, 1)
    tinted = hr_image.copy()
    tinted[..., 0] += 5
    assert artifact_metrics(tinted, hr_image, 4)["color_shift"] == pytest.approx(5)
    assert artifact_metrics(cv2.GaussianBlur(hr_image, (0, 0), 3), hr_image, 4)["sharpness"] < 0.7
    flat = np.full_like(hr_image, 100)
    touched = flat.copy()
    touched[50, 50] += 2
    assert artifact_metrics(touched, flat, 4)["sharpness"] < 2  # one pixel makes no image thousands of times as sharp
    gridded = hr_image.copy()
    gridded[::4, ::4] += 16
    strength = artifact_metrics(gridded, hr_image, 4)["checkerboard"]
    assert strength > 20 * same["checkerboard"]
    assert strength == pytest.approx(16 * np.sqrt(1 / 16 * 15 / 16), rel=0.15)  # of a spike in one of 16 places
    # In strips or at once: the same.
    tensor = torch.from_numpy(gridded).permute(2, 0, 1)[None].float() / 255
    assert strength == pytest.approx(float(checkerboard(tensor, 4)), rel=1e-4)


def test_no_patch_is_too_small_for_the_grid():
    assert float(checkerboard(torch.rand(2, 3, 8, 8), 4)) == 0


def test_strips_change_nothing(monkeypatch, images):
    whole = psnr_ssim(*images, border=3)
    monkeypatch.setattr("srgan.metrics.psnr_ssim._ROWS_PER_STRIP", 7)
    assert psnr_ssim(*images, border=3) == pytest.approx(whole, rel=1e-7)


def at(entry, base):
    """The same weights, at another address."""
    files = [replace(file, urls=(f"{base}/{file.name}",)) if "://" in file.urls[0] else file for file in entry.files]
    return replace(entry, files=tuple(files))


def test_weights_that_cannot_be_had_are_an_error_that_names_the_places(empty_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SRGAN_MIRROR", str(tmp_path / "mirror"))
    entry = weights.WEIGHTS["alexnet"]
    monkeypatch.setitem(weights.WEIGHTS, "alexnet", at(entry, "http://127.0.0.1:9"))
    with pytest.raises(weights.WeightsUnavailable) as caught:
        Lpips()
    places = [str(empty_cache), str(tmp_path / "mirror" / "weights"), "http://127.0.0.1:9/alexnet-owt-7be5be79.pth"]
    assert all(place in str(caught.value) for place in (*places, "alexnet-features.safetensors"))


def test_wrong_weights_are_not_used(empty_cache, monkeypatch, caplog):
    empty_cache.mkdir(parents=True)
    (empty_cache / "alexnet-owt-7be5be79.pth").write_bytes(b"something else")
    monkeypatch.delenv("SRGAN_MIRROR", raising=False)
    entry = weights.WEIGHTS["alexnet"]
    monkeypatch.setitem(weights.WEIGHTS, "alexnet", at(entry, "http://127.0.0.1:9"))
    with pytest.raises(weights.WeightsUnavailable):
        weights.weights_path("alexnet")
    assert "does not start with 7be5be79" in caplog.text


def test_a_download_is_checked_and_lands_whole(empty_cache, tmp_path, monkeypatch):
    import hashlib
    import http.server
    import threading

    content = b"weights" * 1000

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if "good" in self.path else b"x" * len(content))

        def log_message(self, *_):
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        digest = hashlib.sha256(content).hexdigest()[:8]
        monkeypatch.delenv("SRGAN_MIRROR", raising=False)
        base = f"http://127.0.0.1:{server.server_port}"
        for word, expected in (("bad", None), ("good", content)):
            file = f"{word}-{digest}.pth"
            monkeypatch.setitem(weights.WEIGHTS, "alexnet", Weights("alexnet", "", "", (File((f"{base}/{file}",), 0, digest),)))
            if expected is None:
                with pytest.raises(weights.WeightsUnavailable, match="expected"):
                    weights.weights_path("alexnet")
                assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]
            else:
                assert weights.weights_path("alexnet").read_bytes() == expected
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_lpips_imports_beside_any_build_of_torchvision():
    """Such as a CPU build of torch beside a CUDA build of torchvision, whose own import fails."""
    code = "from srgan.utils import compat; import lpips; lpips.LPIPS(net='alex', pnet_rand=True, verbose=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
