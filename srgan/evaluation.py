"""Score enlargements of the held-out images, and lay them side by side."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from srgan import metrics
from srgan.data.fetch import WeightsUnavailable
from srgan.data.images import as_rgb, read_image, read_rgb, write_png
from srgan.data.manifest import Pair

FIGURES = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lpips")
WINDOW = 96  # HR pixels of the side of a detail in the comparison picture
MAGNIFICATION = 3
MARGIN, CAPTION = 6, 22  # pixels of the comparison picture

Enlarge = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (scale * H, scale * W, 3) uint8

log = logging.getLogger(__name__)


def open_lpips(wanted: bool) -> metrics.Lpips | None:
    """The LPIPS scorer; None, with one warning, if it is wanted but its weights cannot be had."""
    if not wanted:
        return None
    try:
        return metrics.Lpips()
    except WeightsUnavailable as error:
        log.warning("LPIPS is unavailable: %s; then score again with: dvc repro -sf evaluate", error)
        return None


def score(pairs: list[Pair], models: dict[str, Enlarge], scale: int, lpips: metrics.Lpips | None) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Score every model on every pair.

    Returns:
        A table with the columns `set`, `model`, `image` and `FIGURES` (a figure that could not be had is missing), and for each
        pair a strip of pictures: the detail that bicubic loses most of, by each model and in the original.
    """
    rows, strips = [], []
    for pair in tqdm(pairs, desc="evaluate", unit="image", disable=None):
        original, lr_image = read_image(pair.hr), read_rgb(pair.lr)
        hr_image = as_rgb(original)
        enlarged = {name: enlarge(lr_image) for name, enlarge in models.items()}
        for name, sr_image in enlarged.items():
            figures: dict[str, float | None] = dict(metrics.psnr_ssim(sr_image, original, border=scale))
            figures["lpips"] = lpips(sr_image, hr_image) if lpips else None
            rows.append({"set": pair.set, "model": name, "image": pair.name} | figures)
        shown = {name: sr_image for name, sr_image in enlarged.items() if not name.startswith("onnx")}
        captions = {row["model"]: _caption(row) for row in rows[-len(models) :]}
        strips.append(_strip(pair.name, shown | {"original": hr_image}, captions, next(iter(enlarged.values())), hr_image))
    return pd.DataFrame(rows).astype(dict.fromkeys(FIGURES, float)), strips


def summarise(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Means as ``{SET: {MODEL: {figure: value}}}``; a figure that could not be had is None. Infinite PSNR (equal images) is None too."""
    means = table.groupby(["set", "model"], sort=False)[list(FIGURES)].mean()
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for (set_name, model), row in means.iterrows():
        figures = {name: round(float(value), 4) if np.isfinite(value) else None for name, value in row.items()}
        result.setdefault(str(set_name), {})[str(model)] = figures
    return result


def _caption(row: dict[str, Any]) -> str:
    lpips = f"  LPIPS {row['lpips']:.3f}" if row["lpips"] is not None else ""
    return f"{row['psnr_y']:.2f} dB{lpips}"


def _strip(name: str, images: dict[str, np.ndarray], captions: dict[str, str], baseline: np.ndarray, hr_image: np.ndarray) -> np.ndarray:
    """A row of labelled details, `(H, W, 3)` uint8."""
    height, width = hr_image.shape[:2]
    side = min(WINDOW, height, width)
    loss = cv2.boxFilter(np.abs(hr_image.astype(np.float32) - baseline).mean(axis=2), -1, (side, side), anchor=(0, 0), normalize=True)
    top, left = np.unravel_index(np.argmax(loss[: height - side + 1, : width - side + 1]), (height - side + 1, width - side + 1))
    shown = side * MAGNIFICATION
    canvas = Image.new("RGB", (len(images) * (shown + MARGIN) - MARGIN, shown + 2 * CAPTION), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for column, (label, image) in enumerate(images.items()):
        x = column * (shown + MARGIN)
        detail = Image.fromarray(image[top : top + side, left : left + side])
        canvas.paste(detail.resize((shown, shown), Image.Resampling.NEAREST), (x, CAPTION))
        draw.text((x + 2, 3), f"{name}: {label}" if column == 0 else label, "black", font)
        draw.text((x + 2, shown + CAPTION + 3), captions.get(label, ""), "black", font)
    return np.asarray(canvas)


def write_comparison(path: Path, strips: list[np.ndarray]) -> None:
    """All strips in one PNG, one below the other."""
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    write_png(path, np.concatenate(padded))


def text_table(summary: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """The summary for a terminal."""
    lines = [f"{'set':10} {'model':12} {'PSNR-Y':>9} {'SSIM-Y':>8} {'PSNR-RGB':>9} {'SSIM-RGB':>9} {'LPIPS':>12}"]
    for set_name, models in summary.items():
        for model, row in models.items():
            digits = dict(zip(FIGURES, (2, 4, 2, 4, 4), strict=True))
            cells = [f"{row[name]:.{digits[name]}f}" if row[name] is not None else "unavailable" for name in FIGURES]
            lines.append(f"{set_name:10} {model:12} {cells[0]:>9} {cells[1]:>8} {cells[2]:>9} {cells[3]:>9} {cells[4]:>12}")
    return "\n".join(lines)
