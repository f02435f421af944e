"""Compare the metrics with official values: ``python benchmarks/calibration.py [-o FILE]``.

The images and weights are those of a mirror (`SRGAN_MIRROR`): ``datasets/metric-calibration``, ``datasets/{set5,set14,b100}`` and
``weights/``. Without `-o` it writes ``docs/calibration.md``. A metric whose weights are not found has no value of this project there.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale, modcrop
from srgan.images.read import as_rgb, read_image, read_rgb
from srgan.metrics.color import ciede2000
from srgan.metrics.metric import Sample, Scorer
from srgan.metrics.psnr_ssim import grey, psnr_ssim_y
from srgan.metrics.registry import METRICS, open_metrics
from srgan.utils.files import write_text

PAGE = Path(__file__).parents[1] / "docs" / "calibration.md"
PAIRS = "I03", "I04", "I06", "I08", "I19"

# Metric -> row of pyiqa's table of official values.
OFFICIAL = {"psnr_rgb": "psnr", "ssim_y": "ssim", "lpips": "lpips", "niqe_published": "niqe"}

# https://github.com/richzhang/PerceptualSimilarity, outputs of its examples: metric -> values of ex_p0 and ex_p1 against ex_ref.
LPIPS_EXAMPLES = {"lpips": (0.722, 0.138), "lpips_squeeze": (0.711, 0.148), "lpips_vgg": None}

# Lim et al. 2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution", table 3: PSNR-Y and SSIM-Y of bicubic.
BICUBIC = {
    ("set5", 2): (33.66, 0.9299),
    ("set5", 3): (30.39, 0.8682),
    ("set5", 4): (28.42, 0.8104),
    ("set14", 2): (30.24, 0.8688),
    ("set14", 3): (27.55, 0.7742),
    ("set14", 4): (26.00, 0.7027),
    ("b100", 2): (29.56, 0.8431),
    ("b100", 3): (27.21, 0.7385),
    ("b100", 4): (25.96, 0.6675),
}

# Sharma et al. 2005, "The CIEDE2000 color-difference formula", some rows of table 1: CIE L*a*b* of two colors and their difference.
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]

# Metric -> reason why no official value exists for its definition.
UNPUBLISHED = {
    "ssim_rgb": "the same code as `ssim_y` on three channels",
    "color_shift": "a definition of this project",
    "checkerboard": "a definition of this project",
    "hatch": "a definition of this project",
    "sharpness": "a definition of this project",
    "colorfulness": "its authors published scores of test persons, but no values of images",
    "consistency": "a definition of this project",
    "input_color_shift": "a definition of this project",
    "niqe": "the code of `niqe_published` with other photographs",
}
PUBLISHED = {*OFFICIAL, *LPIPS_EXAMPLES, "psnr_y", "ciede2000"}

Row = list[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def pair_rows(mirror: Path, scorers: dict[str, Scorer]) -> list[Row]:
    """Return a row for each metric of `OFFICIAL`: official and own value of each image pair, and the largest difference."""
    folder = mirror / "datasets" / "metric-calibration"
    with (folder / "results_official.csv").open(newline="", encoding="utf-8") as file:
        official = {row["Method"]: row for row in csv.DictReader(file)}
    images = [tuple(read_rgb(folder / part / f"{name}.png") for part in ("dist", "ref")) for name in PAIRS]
    rows = []
    for title, name, samples in (
        *((f"`{name}`", name, [Sample(*pair, scale=0) for pair in images]) for name in OFFICIAL),
        ("`ssim_y` of grayscale originals", "ssim_y", [Sample(first, grey(second), scale=0) for first, second in images]),
    ):
        if name not in scorers:
            rows.append([title, f"`{OFFICIAL[name]}`", *["weights not found"] * (len(PAIRS) + 1)])
            continue
        expected = [float(official[OFFICIAL[name]][f"{pair}.bmp"]) for pair in PAIRS]
        found = [scorers[name](sample) for sample in samples]
        digits = 4 if max(expected) < 2 else 2
        cells = [f"{a:.{digits}f} / {b:.{digits}f}" for a, b in zip(expected, found, strict=True)]
        rows.append([title, f"`{OFFICIAL[name]}`", *cells, f"{np.abs(np.subtract(expected, found)).max():.{digits}f}"])
    return rows


def example_rows(mirror: Path, scorers: dict[str, Scorer]) -> list[Row]:
    """Return a row for each LPIPS: published and own value of both pairs."""
    folder, rows = mirror / "weights" / "lpips-examples", []
    reference = read_rgb(folder / "ex_ref.png")
    for name, expected in LPIPS_EXAMPLES.items():
        if expected is None or name not in scorers:
            rows.append([f"`{name}`", "not found" if expected is None else "-", "weights not found"])
            continue
        found = [scorers[name](Sample(read_rgb(folder / f"{image}.png"), reference)) for image in ("ex_p0", "ex_p1")]
        rows.append([f"`{name}`", *(f"{a:.3f} / {b:.4f}" for a, b in zip(expected, found, strict=True))])
    return rows


def bicubic_rows(mirror: Path, chosen: Iterable[tuple[str, int]] = tuple(BICUBIC)) -> list[Row]:
    """Return a row for each test set and scale: published and own PSNR-Y and SSIM-Y of bicubic."""
    rows = []
    for name, scale in chosen:
        scores = []
        for path in sorted((mirror / "datasets" / name).iterdir()):
            hr_image = modcrop(read_image(path), scale)
            sr_image = bicubic_upscale(bicubic_downscale(as_rgb(hr_image), scale), scale)
            scores.append(psnr_ssim_y(sr_image, hr_image, border=scale))
        (psnr, ssim), (mean_psnr, mean_ssim) = BICUBIC[name, scale], np.mean(scores, axis=0)
        rows.append([name, f"x{scale}", f"{psnr:.2f} / {mean_psnr:.2f}", f"{ssim:.4f} / {mean_ssim:.4f}"])
    return rows


def sharma_rows() -> list[Row]:
    """Return a row for each pair of colors: published and own CIEDE2000."""
    found = [float(ciede2000(np.array(first), np.array(second))) for first, second, _ in SHARMA]
    return [[str(first), str(second), f"{row:.4f} / {own:.4f}"] for (first, second, row), own in zip(SHARMA, found, strict=True)]


def page(mirror: Path) -> str:
    """Return the page of all tables.

    Args:
        mirror: folder of the images and weights.
    """
    scorers = open_metrics(METRICS[name] for name in {**OFFICIAL, **LPIPS_EXAMPLES} if name in METRICS)
    missing = [name for name in METRICS if name not in PUBLISHED]
    return f"""\
# Calibration of the metrics

This page compares each metric with values that others published.
`python benchmarks/calibration.py` measures the values and writes the page.
It needs the images and weights of a mirror (`SRGAN_MIRROR`).
A cell is *official / this project*.

## Image pairs of pyiqa

[pyiqa](https://github.com/chaofengc/IQA-PyTorch) keeps five image pairs of TID2013 with the values of the authors' programs.
The row is that of its file `results_official.csv`.

{table(["metric", "row", *PAIRS, "largest difference"], pair_rows(mirror, scorers))}

The official SSIM is that of 8-bit gray images in 0..255.
`ssim_y` uses the luma of BT.601 in 16..235, as papers on super-resolution do.
For grayscale originals both definitions agree, and the values too.

## Examples of LPIPS

The package `lpips` prints the distances of two images from a third one.

{table(["metric", "`ex_p0`", "`ex_p1`"], example_rows(mirror, scorers))}

## Bicubic interpolation

The published values are those of Lim et al. 2017 (EDSR), table 3.
The papers do not round the LR image to 8 bits.
This project rounds it, as image files do.

{table(["set", "scale", "`psnr_y`", "`ssim_y`"], bicubic_rows(mirror))}

## Color difference

The published values are from Sharma et al. 2005, table 1.

{table(["first color, L*a*b*", "second color", "`ciede2000`"], sharma_rows())}

## Metrics without a published value

{table(["metric", "reason"], [[f"`{name}`", UNPUBLISHED.get(name, "none found")] for name in missing])}
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Compare the metrics with official values.")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, metavar="FILE")
    output = parser.parse_args().output
    if not os.environ.get("SRGAN_MIRROR"):
        sys.exit("benchmarks/calibration.py: SRGAN_MIRROR is not set. Set it to a folder with datasets/ and weights/")
    write_text(output, page(Path(os.environ["SRGAN_MIRROR"])))
    print(output)


if __name__ == "__main__":
    main()
