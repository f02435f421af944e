"""``reports/report.html``: one file that opens from disk and shows in a minute whether the model is any good."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from srgan import files
from srgan.evaluation import FIGURES
from srgan.training.log import validation_csv

LABELS = {"psnr_y": "PSNR-Y, dB", "ssim_y": "SSIM-Y", "psnr_rgb": "PSNR-RGB, dB", "ssim_rgb": "SSIM-RGB", "lpips": "LPIPS"}
DIGITS = {"psnr_y": "%.2f", "ssim_y": "%.4f", "psnr_rgb": "%.2f", "ssim_rgb": "%.4f", "lpips": "%.4f"}


def curves_svg(losses: dict[str, Path]) -> str:
    """Losses and validation scores of both stages over the steps, as an SVG element. Equal CSVs make equal text."""
    figure = Figure(figsize=(10, 3.2 * len(losses)), layout="constrained")
    axes = figure.subplots(len(losses), 2, squeeze=False)
    for (left, right), (stage, path) in zip(axes, losses.items(), strict=True):
        table = pd.read_csv(path)
        for column in (name for name in table if name.startswith("loss_")):
            left.plot(table["step"], table[column], label=column.removeprefix("loss_").replace("_", " "))
        left.set(title=f"{stage}: losses", xlabel="step", yscale="log")
        validated = pd.read_csv(validation_csv(path))
        right.plot(validated["step"], validated["val_psnr_y"], marker=".", label="validation PSNR-Y, dB")
        right.set(title=f"{stage}: validation", xlabel="step")
        for axis in (left, right):
            axis.legend()
            axis.grid(alpha=0.3)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="max-width:100%;height:auto;background:#fff" ', 1)


def write_report(
    path: Path,
    table: pd.DataFrame,
    summary: dict[str, dict[str, dict[str, float | None]]],
    comparison: Path,
    losses: dict[str, Path],
    manifest: dict[str, Any],
    parameters: dict[str, Any],
) -> None:
    """Write the page, self-contained.

    Args:
        path: of the page.
        table: a row per set, model and image (`srgan.evaluation.score`).
        summary: its means (`srgan.evaluation.summarise`).
        comparison: the picture of details.
        losses: stage -> CSV; that of the validation lies beside it.
        manifest: of the prepared data.
        parameters: name -> value.
    """
    best = {}
    for set_name, models in summary.items():
        columns = {name: [row[name] for row in models.values() if row[name] is not None] for name in FIGURES}
        best[set_name] = {name: (min if name == "lpips" else max)(values) if values else None for name, values in columns.items()}
    loader = jinja2.PackageLoader("srgan", "templates")
    page = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template("report.html")
    images = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in table.to_dict("records")]
    text = page.render(
        title=f"Super-resolution x{manifest['scale']}: report",
        scale=manifest["scale"],
        summary=summary,
        counts=table.groupby("set")["image"].nunique().to_dict(),
        best=best,
        figures=FIGURES,
        labels=LABELS,
        digits=DIGITS,
        images=images,
        comparison=base64.b64encode(comparison.read_bytes()).decode(),
        curves=jinja2.utils.markupsafe.Markup(curves_svg(losses)),
        manifest=manifest,
        parameters=parameters,
    )
    files.write_text(path, text)
