"""Score enlargements of the held-out images, and lay them side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from srgan import metrics, pictures
from srgan.data.images import as_rgb, read_image, read_rgb
from srgan.data.manifest import Pair

FIGURES = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lpips")
Enlarge = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (scale * H, scale * W, 3) uint8


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
        strips.append(pictures.strip(pair.name, shown | {"original": hr_image}, captions, next(iter(enlarged.values())), hr_image))
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


def text_table(summary: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """The summary for a terminal."""
    lines = [f"{'set':10} {'model':12} {'PSNR-Y':>9} {'SSIM-Y':>8} {'PSNR-RGB':>9} {'SSIM-RGB':>9} {'LPIPS':>12}"]
    for set_name, models in summary.items():
        for model, row in models.items():
            digits = dict(zip(FIGURES, (2, 4, 2, 4, 4), strict=True))
            cells = [f"{row[name]:.{digits[name]}f}" if row[name] is not None else "unavailable" for name in FIGURES]
            lines.append(f"{set_name:10} {model:12} {cells[0]:>9} {cells[1]:>8} {cells[2]:>9} {cells[3]:>9} {cells[4]:>12}")
    return "\n".join(lines)
