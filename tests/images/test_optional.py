"""Decoders that are not installed."""

import sys

import pytest
from PIL import Image

from srgan.images import optional
from srgan.images.read import open_image
from srgan.images.search import find_images
from srgan.images.write import format_of
from srgan.utils.errors import SrganError

FILES = {
    "a.heic": (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", r"HEIC \(HEIF\) needs the package pillow_heif", "heif"),
    "a.jxl": (b"\xff\x0a\xfa\x1f\x01\x90" + bytes(60), "JPEG XL needs the package pillow_jxl", "jxl"),
    "a.nef": (b"II*\0" + bytes(60), "camera raw needs the package rawpy", "raw"),
}


@pytest.fixture
def bare(monkeypatch):
    """None of the optional packages."""
    for extra in optional.EXTRAS:
        monkeypatch.setitem(sys.modules, extra.module, None)
    optional._module.cache_clear()
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    yield
    optional._module.cache_clear()


@pytest.mark.parametrize("name", FILES)
def test_the_command_that_installs_one_is_told(bare, tmp_path, name):
    content, message, extra = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SrganError, match=rf"{name}: {message}.* pip install 'srgan\[{extra}\]'"):
        open_image(tmp_path / name)


def test_a_folder_without_them_is_done_and_the_command_told_once(bare, tmp_path, caplog):
    for name, (content, _, _) in FILES.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"2{name}").write_bytes(content)
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    assert list(find_images([str(tmp_path)], tmp_path / "out")) == [tmp_path / "b.png"]
    assert ".heic (needs pip install 'srgan[heif]') 2 (2a.heic, a.heic)" in caplog.text


def test_no_file_is_promised_that_cannot_be_written(bare, tmp_path):
    with pytest.raises(SrganError, match=r"out\.jxl: JPEG XL needs the package pillow_jxl"):
        format_of(tmp_path / "out.jxl")
