"""``studies/NAME/study.html``: one self-contained page of a study."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from srgan.config import yaml
from srgan.config.render import scalar
from srgan.metrics.registry import METRICS
from srgan.pages.render import render
from srgan.tuning import results
from srgan.tuning.space import Choices, Range
from srgan.tuning.study import Study
from srgan.tuning.trial import pixel_stage_costs
from srgan.utils import files

LEAST = 4  # complete trials for a figure of importance
COLORS = {"complete": "C0", "pruned": "C7", "refused": "C1"}


def write(study: Study) -> Path:
    """Write the page of a study, also of one that runs. Return its path."""
    rows = results.table(study)
    shown = [row for row in rows if row["values"]]
    charts = [(title, _svg(figure)) for title, figure in _figures(study, shown) if figure]
    picture = study.root / "comparison.png"
    page = render(
        "study.html",
        package="srgan.evaluation",
        name=study.definition.name,
        options=study.definition.options,
        objectives=results.objectives(study),
        rows=sorted(rows, key=lambda row: (row["rank"] or len(rows) + 1, row["number"])),
        names=list(study.definition.space),
        text=lambda value: scalar(yaml.to_plain(value)),
        limit=study.limit,
        sentences=results.sentences(study),
        charts=charts,
        costs={name: sum(row[name] for row in rows) for name in ("seconds", "processor_seconds")},
        shared=pixel_stage_costs(study),
        picture=base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else "",
    )
    files.write_text(study.root / "study.html", page)
    return study.root / "study.html"


def _figures(study: Study, rows: list[dict[str, Any]]) -> list[tuple[str, Figure | None]]:
    front = [("Pareto front", _front(study, rows))] if study.definition.options.cost else []
    return [
        *front,
        ("History", _history(study, rows)),
        ("Importance", _importance(study)),
        ("Parallel coordinates", _parallel(study, rows)),
    ]


def _history(study: Study, rows: list[dict[str, Any]]) -> Figure | None:
    """Return the objective of each trial, and the best so far."""
    if not rows:
        return None
    figure, axes = _figure(3.2)
    for state, color in COLORS.items():
        some = [row for row in rows if row["state"] == state]
        axes.plot([row["number"] for row in some], [row["values"][0] for row in some], "o", color=color, label=state)
    complete = [row for row in rows if row["state"] == "complete"]
    best: Callable[..., Any] = np.minimum.accumulate if study.definition.options.objective == "lpips" else np.maximum.accumulate
    if complete:
        axes.step(
            [row["number"] for row in complete], best([row["values"][0] for row in complete]), where="post", color="C0", label="best so far"
        )
    axes.set(xlabel="trial", ylabel=METRICS[study.definition.options.objective].title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _front(study: Study, rows: list[dict[str, Any]]) -> Figure | None:
    """Return quality over cost, with the front."""
    complete = [row for row in rows if len(row["values"]) == 2]
    if not complete:
        return None
    figure, axes = _figure(3.6)
    axes.plot([row["values"][1] for row in complete], [row["values"][0] for row in complete], "o", color="C7", label="trials")
    front = sorted((row for row in complete if row["rank"]), key=lambda row: row["values"][1])
    axes.plot([row["values"][1] for row in front], [row["values"][0] for row in front], "o-", color="C0", label="front")
    for row in front:
        axes.annotate(f" {row['number']}", (row["values"][1], row["values"][0]))
    axes.set(xlabel="seconds per megapixel", ylabel=METRICS[study.definition.options.objective].title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _importance(study: Study) -> Figure | None:
    """Return the share of each parameter in the differences between good and other trials (PED-ANOVA, Watanabe et al. 2023)."""
    found = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE and trial.params]
    if len(found) < LEAST or len({trial.values[0] for trial in found}) < 2:
        return None
    try:
        shares = get_param_importances(study.optuna, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: trial.values[0])
    except (ValueError, RuntimeError):  # no parameter has two values among the complete trials
        return None
    figure, axes = _figure(0.8 + 0.4 * len(shares))
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names])
    axes.set(xlabel="share of the differences between good and other trials")
    return figure


def _parallel(study: Study, rows: list[dict[str, Any]]) -> Figure | None:
    """Return a line for each trial through its parameters. Dark lines are better."""
    rows = [row for row in rows if row["params"] and row["state"] != "refused"]
    if not rows:
        return None
    figure, axes = _figure(4.0)
    names = list(study.definition.space)
    values = [row["values"][0] for row in rows]
    lowest, highest = min(values), max(values)
    colors = matplotlib.colormaps["viridis" if study.definition.options.objective == "lpips" else "viridis_r"]
    for row, value in zip(rows, values, strict=True):
        heights = [_height(study, name, row["params"][name]) for name in names]
        end = (value - lowest) / (highest - lowest) if highest > lowest else 0.5
        axes.plot(
            range(len(names) + 1),
            [*heights, end],
            color=colors(end),
            alpha=1.0 if row["rank"] == 1 else 0.5,
            linewidth=3 if row["rank"] == 1 else 1,
        )
    for column, name in enumerate(names):
        dimension = study.definition.space[name]
        ticks = dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
        for tick in ticks:
            axes.annotate(
                scalar(yaml.to_plain(tick)),
                (column, _height(study, name, tick)),
                fontsize="small",
                ha="right",
                xytext=(-4, 0),
                textcoords="offset points",
            )
    for tick in (0, 1):
        axes.annotate(
            f"{lowest + tick * (highest - lowest):.4f}", (len(names), tick), fontsize="small", xytext=(4, 0), textcoords="offset points"
        )
    labels = [*names, METRICS[study.definition.options.objective].label]
    axes.set_xticks(range(len(labels)), labels, rotation=12)
    axes.set_yticks([])
    axes.grid(axis="x")
    axes.margins(x=0.12)
    return figure


def _height(study: Study, name: str, value: Any) -> float:
    """Return the place of a value on its axis, in 0..1."""
    dimension = study.definition.space[name]
    if isinstance(dimension, Range):
        ends = np.array([dimension.low, value, dimension.high], float)
        low, at, high = np.log(ends) if dimension.log else ends
        return float((at - low) / (high - low))
    return dimension.values.index(value) / (len(dimension.values) - 1)


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="width:100%;height:auto;background:#fff" ', 1)
