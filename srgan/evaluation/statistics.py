"""Means of metrics with confidence intervals and paired differences between models."""

from typing import Any

import numpy as np
import pandas as pd

from srgan.metrics.registry import METRICS, ranking
from srgan.tasks import BASELINES, SUPER_RESOLUTION, Task

BOOTSTRAP_SAMPLES = 9999
REFERENCE_FREE = "niqe", "hatch"  # metrics that sum up a set without originals
EXAMPLES = 3  # names of the worst and of the best images in a list

Summary = dict[str, dict[str, dict[str, float | None]]]


def summarise(table: pd.DataFrame) -> Summary:
    """Return means as ``{SET: {MODEL: {metric: value}}}``. A mean that is missing or infinite (equal images) is None."""
    means = table.groupby(["set", "model"], sort=False)[list(METRICS)].mean()
    result: Summary = {}
    for (set_name, model), row in means.iterrows():
        values = {name: round(float(value), 4) if np.isfinite(value) else None for name, value in row.items()}
        result.setdefault(str(set_name), {})[str(model)] = values
    return result


def model_statistics(table: pd.DataFrame, references: tuple[str, ...] = (*BASELINES, "champion")) -> dict[str, Any]:
    """Return means with confidence intervals, worst and best images and paired differences.

    Intervals contain the mean with 95 % probability by bootstrap over the images (Efron and Tibshirani 1993, chapter 13). A
    single image has no interval. Differences are paired: image by image, the value of the model minus that of the reference.

    Args:
        table: see `srgan.evaluation.evaluate.evaluate`.
        references: models to compare with. A reference that is not in the table is left out.

    Returns:
        ``{SET: {MODEL: {"images": n, "figures": {metric: {"mean", "low", "high", "worst": [images], "best": [images]}},
        "against": {REFERENCE: {metric: {"difference", "low", "high", "wins"}}}}}}``
    """
    result: dict[str, Any] = {}
    for set_name, of_set in table.groupby("set", sort=False):
        models = {str(name): rows.set_index("image")[list(METRICS)] for name, rows in of_set.groupby("model", sort=False)}
        result[str(set_name)] = {}
        for name, values in models.items():
            found: dict[str, Any] = {"images": len(values), "figures": _means(values), "against": {}}
            for reference in references:
                if reference in models and reference != name:
                    found["against"][reference] = _differences(values, models[reference].loc[values.index])
            result[str(set_name)][name] = found
    return result


def _means(values: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name, (mean, low, high) in intervals(values).items():
        order = METRICS[name].higher_is_better(values[name]).sort_values(kind="stable").index.tolist()
        count = min(EXAMPLES, len(order) // 2)
        found[name] = {"mean": mean, "low": low, "high": high, "worst": order[:count], "best": order[::-1][:count]}
    return found


def _differences(values: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name, (mean, low, high) in intervals(values - reference).items():
        turn = METRICS[name].higher_is_better
        wins = int((turn(values[name]) > turn(reference[name])).sum())
        found[name] = {"difference": mean, "low": low, "high": high, "wins": wins}
    return found


def intervals(values: pd.DataFrame, level: float = 0.95) -> dict[str, tuple[float, float | None, float | None]]:
    """Return mean and interval of each column without missing or infinite values.

    Args:
        values: of images, a row each.
        level: probability that the interval contains the mean.
    """
    whole = values.loc[:, np.isfinite(values).all()]
    means = {str(name): round(float(value), 5) for name, value in whole.mean().items()}
    if len(whole) < 2:
        return {name: (mean, None, None) for name, mean in means.items()}
    drawn = np.random.default_rng(0).integers(len(whole), size=(BOOTSTRAP_SAMPLES, len(whole)))
    resampled = [column[drawn].mean(axis=1) for column in whole.to_numpy().T]
    bounds = np.percentile(resampled, (50 - 50 * level, 50 + 50 * level), axis=1).T.round(5).tolist()
    return {name: (mean, low, high) for (name, mean), (low, high) in zip(means.items(), bounds, strict=True)}


def summary_sentences(statistics: dict[str, Any], main: str, task: Task = SUPER_RESOLUTION) -> list[str]:
    """Return a sentence for each set and reference that compares a model with the reference.

    Args:
        statistics: see `model_statistics`.
        main: name of the model.
        task: of the model.
    """
    sentences = []
    for set_name, models in statistics.items():
        for reference, values in models[main]["against"].items():
            parts = []
            for name in [name for name in ranking(task) if name in values] or [name for name in REFERENCE_FREE if name in values]:
                metric, found = METRICS[name], values[name]
                sure = "" if found["low"] is None else " (not certain)" if found["low"] <= 0 <= found["high"] else ""
                value = f"{metric.text(found['difference'], sign=True)} {metric.unit}".strip()
                parts.append(f"{metric.label} {value}{sure}, better on {found['wins']} of {models[main]['images']}")
            if parts:
                sentences.append(f"{main} against {reference} on {set_name}: {'; '.join(parts)}.")
    return sentences


def text_table(summary: Summary) -> str:
    """Return the summary as a table for a terminal. Metrics without a value are left out."""
    lines = []
    for set_name, models in summary.items():
        metrics = [metric for metric in METRICS.values() if any(row.get(metric.name) is not None for row in models.values())]
        lines.append(f"{set_name:12} " + " ".join(f"{metric.title:>13}" for metric in metrics))
        for model, row in models.items():
            values = [(metric, row.get(metric.name)) for metric in metrics]
            cells = ["-" if value is None else metric.text(value) for metric, value in values]
            lines.append(f"  {model:10} " + " ".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)
