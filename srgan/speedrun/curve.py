"""The curve of a speedrun: quality over the time of training."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from srgan.metrics.registry import METRICS
from srgan.speedrun import clock
from srgan.utils.csv_table import validation_csv

SHOWN = "psnr_y", "lpips"  # metrics of the picture


def write(folder: Path, losses: dict[str, Path], rows: list[clock.Row]) -> None:
    """Write ``curve.csv`` and ``curve.png``.

    The table has a row for each validation, with its stage, step, seconds and scores. The seconds are those of the first row of the clock
    that saw the validation.

    Args:
        folder: where the files are written.
        losses: training stage -> CSV of its losses.
        rows: the clock.
    """
    table = pd.concat([_of_stage(stage, path, rows) for stage, path in losses.items()], ignore_index=True)
    table.to_csv(folder / "curve.csv", index=False)
    shown = [metric for metric in SHOWN if f"val_{metric}" in table and table[f"val_{metric}"].notna().any()]
    figure = Figure(figsize=(8, 2.8 * len(shown)), layout="constrained")
    for number, name in enumerate(shown, 1):
        axes = figure.add_subplot(len(shown), 1, number)
        axes.set_xlim(0, 1.02 * table["seconds"].max() / 60)
        for stage, of_stage in table.dropna(subset=f"val_{name}").groupby("stage", sort=False):
            axes.plot(of_stage["seconds"] / 60, of_stage[f"val_{name}"], marker=".", label=str(stage))
        axes.set_ylabel(f"{METRICS[name].title}")
        axes.set_title("validation images" if number == 1 else "")
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("minutes of training")
    figure.savefig(folder / "curve.png", dpi=100)


def _of_stage(stage: str, losses: Path, rows: list[clock.Row]) -> pd.DataFrame:
    table = pd.read_csv(validation_csv(losses))
    seen = [(row.step, at) for row, at in clock.elapsed(rows) if row.stage == stage and row.event != "start"]
    start = next((at for row, at in clock.elapsed(rows) if row.stage == stage), 0.0)
    times = [start if not step else next((at for last, at in seen if last >= step), float("nan")) for step in table["step"]]
    table.insert(0, "stage", stage)
    table.insert(2, "seconds", [round(at, 1) for at in times])
    return table
