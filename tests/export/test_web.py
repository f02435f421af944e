"""The page that runs a model in a browser."""

import base64
import gzip
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from srgan.data.download.catalog import File
from srgan.export import web
from srgan.export.checkpoints import convert
from srgan.inference.upscaler import Upscaler
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import sha256
from tests.helpers.browser import WEBGPU, Page

STATES = "[...document.querySelectorAll('#list li')].map((item) => item.className.split(' ')[0]).join()"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_generator(path, build_generator("compact", scale=2, features=8, depth=2), {})
    return path


@pytest.fixture
def runtime(tmp_path):
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    (folder / web.SCRIPT).write_text("// a script")
    (folder / web.BINARY).write_bytes(b"\0asm")
    return folder.parent


def part(page, name):
    return gzip.decompress(base64.b64decode(re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', page)[1]))


def test_the_file_holds_the_model_and_the_runtime(weights, runtime, tmp_path):
    page, model = convert(weights, "web,onnx", tmp_path / "out", runtime=runtime)
    text = page.read_text()
    assert (page.name, part(text, "model")) == ("2x-tiny-compact.html", model.read_bytes())
    assert (part(text, "script"), part(text, "binary")) == (b"// a script", b"\0asm")
    assert "default-src 'none'" in text
    assert "://" not in text


def test_the_runtime_is_downloaded_once_and_checked(weights, runtime, tmp_path, monkeypatch):
    package = tmp_path / "onnxruntime-web.tgz"
    with tarfile.open(package, "w:gz") as file:
        file.add(runtime, "package")
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "PACKAGE", File((package.as_uri(),), package.stat().st_size, sha256(package)))
    convert(weights, "web", tmp_path / "out")
    package.unlink()
    (page,) = convert(weights, "web", tmp_path / "out")
    assert part(page.read_text(), "script") == b"// a script"
    monkeypatch.setattr(web, "PACKAGE", File((package.as_uri(),), sha256="0" * 64))
    with pytest.raises(SrganError, match=r"web: failed to download .*\. Or download it with npm pack .* name the folder with --runtime"):
        convert(weights, "web", tmp_path / "out")
    with pytest.raises(Unreachable):
        web._read_runtime(None)


def test_a_folder_without_the_runtime_is_an_error(weights, tmp_path):
    with pytest.raises(SrganError, match=r"web: .*: has no dist/ort"):
        convert(weights, "web", tmp_path, runtime=tmp_path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory, weights):
    """Return the page of a model and the model."""
    if not (cache_folder() / web.PACKAGE.name).is_file():
        pytest.skip(f"{cache_folder() / web.PACKAGE.name} is missing. It comes with: srgan export x4-photo --to web -o pages")
    return convert(weights, "web,onnx", tmp_path_factory.mktemp("web"))


def saved(page, folder, name):
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.js("document.querySelector('#list .shown a').click()")
    return np.asarray(Image.open(page.downloaded(folder / name)).convert("RGB")).astype(int)


def complaints(page):
    """Return what the browser complains of, except that it has no GPU."""
    return [error for error in page.errors if "No available adapters" not in error]


def smooth(height, width):
    """A picture with noise, a white area and a flat one."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127.5 + 120 * np.sin(columns / 9 + phase) * np.cos(rows / 13) for phase in (0, 1, 3)]
    pixels = np.stack(waves, 2) + np.random.default_rng(0).normal(0, 5, (height, width, 3))
    pixels[20:60, 30:90] = 255
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (40, 300), (3, 5)])
def test_the_browser_computes_what_srgan_upscale_computes(pages, tmp_path, height, width):
    """Tiles of 192 pixels: four, two and one."""
    pixels = smooth(height, width)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Page(pages[0], 1000, 700) as page:
        page.choose("#files", tmp_path / "a.png")
        page.until(f"{STATES} === 'done'", 120)
        result = saved(page, tmp_path / "got", "a-2x-tiny-compact.png")
        assert complaints(page) == []
    expected = Upscaler(pages[1]).upscale(pixels).astype(int)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 1
    assert (result != expected).mean() < 0.001


@pytest.mark.slow
def test_webgpu_computes_the_same(pages, tmp_path):
    """The processor imitates the GPU (SwiftShader), so it takes a minute."""
    pixels = smooth(96, 128)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Page(pages[0], 1000, 700, flags=WEBGPU) as page:
        page.choose("#files", tmp_path / "a.png")
        page.until(f"{STATES} === 'done'", 400)
        assert page.js("document.body.innerText.includes('computes on the GPU (WebGPU)')")
        result = saved(page, tmp_path / "got", "a-2x-tiny-compact.png")
        assert page.errors == []
    assert np.abs(result - Upscaler(pages[1]).upscale(pixels)).max() <= 1


def test_work_is_cancelled_and_a_damaged_file_is_told(pages, tmp_path):
    Image.fromarray(smooth(1500, 1500)).save(tmp_path / "large.png")
    Image.fromarray(np.full((30, 40), 90, np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "bad.png").write_bytes(b"hello")
    (tmp_path / "a.txt").write_bytes(b"hello")
    with Page(pages[0], 1000, 700) as page:
        page.choose("#files", *(tmp_path / name for name in ("large.png", "bad.png", "grey.png", "a.txt")))
        assert page.js("document.querySelector('#message').textContent") == "a.txt: is no picture"
        page.until("document.querySelector('#list .state').textContent.startsWith('tile 1')", 120)
        page.js("document.querySelector('#list li button:last-child').click()")
        page.until(f"{STATES} === 'cancelled,failed,done'", 120)
        texts = page.js("[...document.querySelectorAll('#list .state')].map((one) => one.textContent)")
        assert texts[1] == "this browser cannot read the file. It is damaged, or of a format that browsers do not show"
        page.js("document.querySelectorAll('#list .name')[2].click()")
        grey = saved(page, tmp_path / "got", "grey-2x-tiny-compact.png")
        assert (grey == grey[..., :1]).all()
        assert complaints(page) == []
