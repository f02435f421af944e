"""All pages of a TIFF file."""

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image

from srgan.images.read import open_image
from srgan.images.write import Options
from srgan.inference.batch import Job, run, run_one
from srgan.utils.errors import SrganError

CAT = skimage.data.chelsea()[100:160, 100:190]
GREY = CAT[..., 1]
DEEP = CAT[:40].astype(np.uint16) * 257


@pytest.fixture
def scan(tmp_path):
    """Pages of different sizes, depths and colours, with a preview between them."""
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        file.write(CAT, photometric="rgb", resolution=(300, 300), resolutionunit="INCH")
        file.write(CAT[::4, ::4].copy(), photometric="rgb", subfiletype=1)
        file.write(GREY[:30], photometric="minisblack", compression="deflate")
        file.write(DEEP, photometric="rgb", resolution=(150, 150), resolutionunit="INCH")
    return tmp_path / "scan.tif"


def check(path, upscaler):
    with Image.open(path) as image:
        assert image.n_frames == 3
    pages = [open_image(path, number) for number in range(3)]
    expected = [upscaler.upscale(pixels) for pixels in (CAT, GREY[:30], DEEP)]
    assert [page.pixels.dtype for page in pages] == [np.uint8, np.uint8, np.uint16]
    for page, pixels in zip(pages, expected, strict=True):
        assert np.array_equal(page.pixels, pixels)
    assert [round(page.dpi[0]) for page in pages[::2]] == [300, 150]
    assert all(b"DigitalSourceType" in page.xmp for page in pages)
    with tifffile.TiffFile(path) as file:  # another reader
        assert [page.shape for page in file.pages] == [(120, 180, 3), (60, 180), (80, 180, 3)]
        assert np.array_equal(file.pages[2].asarray(), expected[2])


def test_each_page_keeps_its_size_depth_and_colours(upscaler, scan, tmp_path, caplog):
    run_one(upscaler, str(scan), str(tmp_path / "big.tif"), Options())
    check(tmp_path / "big.tif", upscaler)
    assert run(upscaler, [Job(scan, tmp_path / "folder.tif")], Options(keep_dates=True)) == []
    check(tmp_path / "folder.tif", upscaler)
    assert (tmp_path / "folder.tif").stat().st_mtime == scan.stat().st_mtime
    assert "left out" not in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.tif", "folder.tif", "scan.tif"]


def test_other_formats_get_the_first_page_with_a_warning(upscaler, scan, tmp_path, caplog):
    run_one(upscaler, str(scan), str(tmp_path / "big.png"), Options())
    assert "scan.tif: only the first of 3 pages is read, 2 left out. A TIFF file (.tif) holds all" in caplog.text
    assert open_image(tmp_path / "big.png").pixels.shape == (120, 180, 3)


def test_a_page_that_cannot_be_decoded_leaves_no_result(upscaler, scan, tmp_path, monkeypatch):
    def decoder(source, page):
        if page == 3:
            raise SrganError(f"{source}: page {page} is damaged")
        return open_image(source, page)

    monkeypatch.setattr("srgan.inference.batch.open_image", decoder)
    with pytest.raises(SrganError, match=r"scan\.tif: page 3 is damaged"):
        run_one(upscaler, str(scan), str(tmp_path / "big.tif"), Options())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.tif"]


def test_more_than_a_tiff_file_holds_is_told(upscaler, scan, tmp_path, monkeypatch):
    monkeypatch.setattr("srgan.inference.pages.MAX_BYTES", 70_000)
    with pytest.raises(SrganError, match=r"big\.tif: its 3 pages exceed 4 GB"):
        run_one(upscaler, str(scan), str(tmp_path / "big.tif"), Options())
