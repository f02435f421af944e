"""Metrics of any image files, with or without their originals: ``srgan metrics``."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from srgan.evaluation.evaluate import image_workers
from srgan.images.read import SUFFIXES, read_image, read_rgb
from srgan.metrics.metric import Metric, Sample, Scorer
from srgan.metrics.registry import METRICS, score
from srgan.utils.errors import SrganError


def find_originals(images: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Return the original of each image: the file of the same name, in any format.

    Raises:
        SrganError: an image has no original, or several.
    """
    if not folder.is_dir():
        raise SrganError(f"{folder}: no such file or folder. Name the folder of the originals")
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            by_name.setdefault(path.stem, []).append(path)
    found = {image: by_name.get(image.stem, []) for image in images}
    for image, originals in found.items():
        if len(originals) != 1:
            how_many = f"{len(originals)} files" if originals else "no file"
            raise SrganError(f"{image}: {folder} has {how_many} called {image.stem}. Give each image one original of the same name")
    return {image: originals[0] for image, originals in found.items()}


def score_files(images: Mapping[Path, Path | None], scale: int, scorers: Mapping[str, Scorer]) -> pd.DataFrame:
    """Score image files.

    Args:
        images: files with their originals, or None.
        scale: border in pixels that PSNR and SSIM leave out, and period of `checkerboard`.
        scorers: see `srgan.metrics.registry.open_metrics`.

    Returns:
        A table with the file names as index and a column for each metric.

    Raises:
        SrganError: a file cannot be read, or its size differs from that of its original.
    """

    def row(image: Path) -> dict[str, float]:
        sr_image, original = read_rgb(image), images[image]
        hr_image = read_image(original) if original else None
        if hr_image is not None and hr_image.shape[:2] != sr_image.shape[:2]:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (sr_image, hr_image)]
            raise SrganError(f"{image}: has {sizes[0]} pixels, its original {original} has {sizes[1]}. Compare images of one size")
        return score(Sample(sr_image, hr_image, scale=scale), scorers)

    with image_workers(len(images)) as pool:
        return pd.DataFrame(list(pool.map(row, images)), index=[str(image) for image in images])


def text_table(table: pd.DataFrame, metrics: Mapping[str, Metric] = METRICS, mean: bool = True) -> str:
    """Return scores as a table for a terminal, with the means of several rows if they are wanted."""
    columns = [metric for name, metric in metrics.items() if name in table and table[name].notna().any()]
    rows = [*table.iterrows(), *([("mean", table.mean())] if mean and len(table) > 1 else [])]
    width = max(len(str(name)) for name, _ in rows)
    cells = [[metric.text(row[metric.name]) if np.isfinite(row[metric.name]) else "-" for metric in columns] for _, row in rows]
    widths = [max(len(metric.title), *(len(line[at]) for line in cells)) for at, metric in enumerate(columns)]
    lines = [" " * width + "".join(f"  {metric.title:>{size}}" for metric, size in zip(columns, widths, strict=True))]
    for (name, _), line in zip(rows, cells, strict=True):
        lines.append(f"{name!s:{width}}" + "".join(f"  {cell:>{size}}" for cell, size in zip(line, widths, strict=True)))
    return "\n".join(lines)
