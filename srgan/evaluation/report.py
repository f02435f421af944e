"""``reports/report.html``: one self-contained page with the scores, the images and the origin of a model."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from srgan.evaluation.history import TrainingHistory
from srgan.evaluation.statistics import REFERENCE_FREE, summary_sentences
from srgan.images.read import read_rgb
from srgan.metrics.registry import METRICS, ranking
from srgan.pages.render import render
from srgan.tasks import task_of_manifest
from srgan.utils import files

MAX_LOSSLESS_PIXELS = 3_000_000  # of all images together: above this the page stores JPEG
JPEG_QUALITY = 95


def write_report(
    path: Path,
    title: str,
    main: str,
    table: pd.DataFrame,
    statistics: dict[str, Any],
    examples: Path,
    runs: dict[str, TrainingHistory],
    manifest: dict[str, Any],
    origin: dict[str, Any],
    cost: list[dict[str, Any]],
) -> None:
    """Write the page.

    Args:
        path: file of the page.
        title: heading.
        main: model that the page is about, one of those in `table`.
        table: see `srgan.evaluation.evaluate.evaluate`.
        statistics: see `srgan.evaluation.statistics.model_statistics`.
        examples: folder of `srgan.evaluation.examples.write_examples`.
        runs: by name. Several runs are compared.
        manifest: of the prepared data.
        origin: name -> value, such as the revision and the run.
        cost: of the exported files, see `srgan.inference.benchmark.measure`.
    """
    task = task_of_manifest(manifest)
    ranked = ranking(task)
    columns = [name for name in METRICS if table[name].notna().any()]
    rows = [
        {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
    cards, encoding = _cards(examples, rows, columns, ranked)
    test_first = sorted(manifest["images"], key=lambda image: image["part"] != "test")
    text = render(
        "report.html",
        package="srgan.evaluation",
        title=title,
        summary=summary_sentences(statistics, main, task),
        scale=manifest["scale"],
        task=task,
        metrics=METRICS,
        columns=columns,
        sortable=[name for name in ranked if name in columns],
        missing=[metric.label for name, metric in METRICS.items() if name not in columns],
        sets=[_set(name, models, main, columns, ranked) for name, models in statistics.items()],
        models=list(dict.fromkeys([main, *table["model"]])),
        main=main,
        total=len(table[["set", "image"]].drop_duplicates()),
        cards=cards,
        shown={f"{card['set']}/{card['image']}" for card in cards},
        encoding=encoding,
        plots=jinja2.utils.markupsafe.Markup(_history_plots(runs, ranked)),
        rows=rows,
        origin=origin,
        runs=list(runs),
        parameters=_parameters(runs),
        data=test_first,
        cost=cost,
    )
    files.write_text(path, text)


def _parameters(runs: dict[str, TrainingHistory]) -> list[tuple[str, list[Any], bool]]:
    """Return name, values and "the runs differ" of each parameter. Those that differ come first."""
    stored = [run.parameters for run in runs.values()]
    names = dict.fromkeys(name for parameters in stored for name in parameters)
    rows = [(name, [parameters.get(name, "") for parameters in stored]) for name in names]
    compared = [(name, values, len({_comparable(value) for value in values if value != ""}) > 1) for name, values in rows]
    return sorted(compared, key=lambda row: not row[2])


def _comparable(value: Any) -> Any:
    """Return a value in the form that compares: 2e-4 of a file equals 0.0002 of a server."""
    try:
        return float(str(value))  # of the text, as float(True) is 1
    except ValueError:
        return str(value)


def _set(name: str, models: dict[str, Any], main: str, columns: list[str], ranked: list[str]) -> dict[str, Any]:
    """Return the values of the section about a test set."""
    best = {}
    for metric in columns:
        turn = METRICS[metric].higher_is_better
        quality = {model: turn(row["figures"][metric]["mean"]) for model, row in models.items() if metric in row["figures"]}
        best[metric] = [model for model, value in quality.items() if value == max(quality.values())]
    references = list(dict.fromkeys(reference for row in models.values() for reference in row["against"]))
    listed = [metric for metric in ranked if models[main]["figures"].get(metric, {}).get("worst")]
    return {
        "name": name,
        "images": max(row["images"] for row in models.values()),
        "rows": models,
        "best": best,
        "against": {to: {model: row["against"][to] for model, row in models.items() if to in row["against"]} for to in references},
        "worst": {metric: models[main]["figures"][metric]["worst"] for metric in listed},
        "best_images": {metric: models[main]["figures"][metric]["best"] for metric in listed},
    }


# -- images ----------------------------------------------------------------------------------------------------------------


def _cards(folder: Path, rows: list[dict[str, Any]], columns: list[str], ranked: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Return the content of the card of each example, and a phrase about the encoding of the images."""
    index = files.read_json(folder / "index.json", made_by="evaluate")
    for record in index:
        for name in (record["set"], record["image"], *record["views"]):
            files.plain_name(name, f"{folder / 'index.json'}")
    by_image: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_image.setdefault((row["set"], row["image"]), {})[row["model"]] = row
    paths = [folder / record["set"] / record["image"] / f"{view}.png" for record in index for view in record["views"]]
    lossless = sum(_pixels(path) for path in paths) <= MAX_LOSSLESS_PIXELS
    cards = []
    for record in index:
        place, models = folder / record["set"] / record["image"], by_image[record["set"], record["image"]]
        views = [{"name": view, "source": _data_uri(place / f"{view}.png", lossless)} for view in record["views"]]
        with Image.open(place / f"{record['views'][-1]}.png") as view:
            shown = view.height, view.width
        in_cards = (
            [name for name in METRICS if METRICS[name].in_cards or name in ranked] if "original" in record["views"] else REFERENCE_FREE
        )
        card_columns = [name for name in columns if name in in_cards]
        quality = _sort_keys(models, [name for name in ranked if name in columns])
        has_original = "original" in record["views"]
        cards.append(
            record
            | {"has_original": has_original, "views": views, "shown": shown, "rows": models, "columns": card_columns, "quality": quality}
        )
    return cards, "without loss" if lossless else f"as JPEG of quality {JPEG_QUALITY}"


def _sort_keys(models: dict[str, dict[str, Any]], metrics: list[str]) -> dict[str, float]:
    """Return ``{"METRIC|MODEL": value}``, higher is better, by which the page orders the cards."""
    keys = {}
    for name in metrics:
        for model, row in models.items():
            if row[name] is not None:
                keys[f"{name}|{model}"] = round(float(METRICS[name].higher_is_better(row[name])), 4)
    return keys


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def _data_uri(path: Path, lossless: bool) -> str:
    kind, buffer = "webp" if lossless else "jpeg", io.BytesIO()
    options = {"lossless": True, "quality": 0, "method": 1, "exact": True} if lossless else {"quality": JPEG_QUALITY, "subsampling": 0}
    Image.fromarray(read_rgb(path)).save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# -- history ---------------------------------------------------------------------------------------------------------------


def _history_plots(runs: dict[str, TrainingHistory], ranked: list[str]) -> str:
    """Return plots over the steps as one SVG element: losses and the metrics of the validation. Several runs share the axes.

    A single run shows all its losses. Of several runs each shows its first loss. Equal tables result in equal text.
    """
    stages = list(dict.fromkeys(stage for run in runs.values() for stage in run.validation))
    if not stages:
        return ""
    tables = [table for run in runs.values() for table in run.validation.values()]
    metrics = [METRICS[name] for name in METRICS if name in ranked and any(f"val_{name}" in table for table in tables)]
    height = 3.2 * len(stages)
    figure = Figure(figsize=(10, height))
    # Fixed margins in inches: a layout that fits them draws the figure several times.
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.5 / height, top=1 - 0.35 / height, wspace=0.15 * (1 + len(metrics)), hspace=0.4)
    alone = len(runs) == 1
    for axes, stage in zip(figure.subplots(len(stages), 1 + len(metrics), squeeze=False), stages, strict=True):
        for name, run in runs.items():
            losses = run.loss_names(stage)
            for loss in losses if alone else losses[:1]:  # the first one of the list, by convention a pixel loss
                table = run.loss(stage, loss)
                axes[0].plot(table["step"], table[loss], label=loss.replace("_", " ") if alone else f"{name}: {loss}")
            for axis, metric in zip(axes[1:], metrics, strict=True):
                table, column = run.validation.get(stage), f"val_{metric.name}"
                if table is not None and column in table:
                    axis.plot(table["step"], table[column], marker=".", label=name)
        axes[0].set(title=f"{stage}: losses" if alone else f"{stage}: first loss", xlabel="step", yscale="log")
        for axis, metric in zip(axes[1:], metrics, strict=True):
            axis.set(title=f"{stage}: {metric.title}", xlabel="step")
        for axis in axes:
            if axis.get_lines() and (axis is axes[0] or not alone):
                axis.legend()
            axis.grid(alpha=0.3)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="width:100%;height:auto;background:#fff" ', 1)
