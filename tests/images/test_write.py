"""Encoded files appear whole, also next to other programs that remove abandoned files."""

import numpy as np
import pytest
from PIL import Image

from srgan.images.metadata import Metadata
from srgan.images.write import Options, resize, write
from srgan.utils import files


def sweep(folder):
    """Do what another process does when it writes its first file into a folder."""
    files._sweep.cache_clear()
    files._sweep(folder.absolute())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_the_unfinished_file_is_not_abandoned(tmp_path, suffix):
    raw, target = tmp_path / "raw", tmp_path / f"a.{suffix}"
    raw.write_bytes(np.random.default_rng(0).bytes(16 * 16 * 3))
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
    metadata = Metadata(b"", Image.Exif(), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", None, (72.0, 72.0))
    write(raw, (16, 16), 3, np.uint8, target, kind, Options(), metadata, finish=lambda path: sweep(tmp_path))
    assert target.stat().st_size


def test_the_resized_pixels_are_not_abandoned(tmp_path):
    target = tmp_path / "a.png"
    with files.scratch_file(target, "raw") as raw:
        raw.write_bytes(bytes(8 * 8 * 3))
        resize(raw, target, (8, 8, 3), np.uint8, (4, 4))
        sweep(tmp_path)
        assert raw.stat().st_size == 4 * 4 * 3
