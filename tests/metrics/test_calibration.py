"""The page that compares the metrics with official values."""

from srgan.metrics.registry import METRICS
from tests.helpers.project import ROOT, script

calibration = script("calibration")
PAGE = (ROOT / "docs" / "calibration.md").read_text()


def numbers(cell):
    return [float(number) for number in cell.split(" / ")]


def rows(heading):
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")][2:]


def test_the_page_has_each_metric_beside_an_official_value_or_with_the_reason_why_there_is_none():
    unpublished = [row[0].strip("`") for row in rows("Metrics without a published value")]
    assert sorted([*calibration.PUBLISHED, *unpublished]) == sorted(METRICS)
    assert "none found" not in PAGE
    assert all(f"`{name}`" in PAGE for name in METRICS)


def test_the_values_of_the_page_agree():
    allowed = {"psnr_rgb": 0.01, "lpips": 0.0005, "niqe_published": 0.1, "ssim_y` of grayscale originals": 0.0002, "ssim_y": 0.04}
    found = {row[0].strip("`"): row for row in rows("Image pairs of pyiqa")}
    assert set(found) == set(allowed)
    for name, row in found.items():
        assert float(row[-1]) <= allowed[name], row
    assert len(rows("Bicubic interpolation")) == len(calibration.BICUBIC)
    for *_, psnr, ssim in rows("Bicubic interpolation"):
        assert abs(numbers(psnr)[0] - numbers(psnr)[1]) < 0.025
        assert abs(numbers(ssim)[0] - numbers(ssim)[1]) < 0.001
    assert rows("Color difference") == calibration.sharma_rows()


def test_the_page_is_what_the_images_give(mirror):
    """The parts that take no seconds."""
    assert calibration.bicubic_rows(mirror, [("set5", 4)]) == [row for row in rows("Bicubic interpolation") if row[:2] == ["set5", "x4"]]
    fast = {name: METRICS[name].score for name in ("psnr_rgb", "ssim_y")}
    found = {row[0]: row for row in calibration.pair_rows(mirror, fast) if "weights" not in row[-1]}
    assert len(found) == 3
    assert [row for row in rows("Image pairs of pyiqa") if row[0] in found] == list(found.values())
