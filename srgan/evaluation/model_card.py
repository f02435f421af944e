"""``MODEL_CARD.md``: the origin and the scores of a registered model with its intended use and limits."""

import json
import re
from collections import Counter
from typing import Any

from srgan.data.manifest import recipe_of
from srgan.metrics.registry import METRICS, ranking
from srgan.pages.render import render
from srgan.tasks import task_of_manifest
from srgan.training import lineage

MODELS = ("pretrained", "gan")  # columns of the tables, after the baseline
_PARTS = ("train", "validation", "test")


def escaped(text: str) -> str:
    """Return text for a line or a table cell of Markdown: markup, HTML and line breaks are shown, not interpreted."""
    return re.sub(r"([\\`*\[\]<>|&~]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def model_card(metadata: dict[str, str], manifest: dict[str, Any], statistics: dict[str, Any], exported: dict[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        metadata: `sr.*` entries of the `.onnx` file.
        manifest: of the prepared data.
        statistics: see `srgan.evaluation.statistics.model_statistics`.
        exported: content of ``reports/export.json``.
    """
    task = task_of_manifest(manifest)
    models = (task.baseline, *MODELS)
    config = json.loads(metadata["sr.arch_config"])
    own_lr = {image["set"] for image in manifest["images"] if image["part"] == "train" and image.get("own_lr")}
    return render(
        "model_card.md",
        package="srgan.evaluation",
        autoescape=False,
        name=escaped(metadata["sr.name"]),
        scale=int(metadata["sr.scale"]),
        task=task,
        arch=metadata["sr.arch"],
        config=", ".join(f"{key} {value}" for key, value in config.items()),
        gan=metadata.get("sr.objective") == "gan",
        license=escaped(metadata["sr.license"]),
        exported=exported,
        megabytes=f"{exported['bytes'] / 1e6:.1f}",
        metadata=metadata,
        starts=[escaped(sentence) for sentence in lineage.starts(metadata)],
        escaped=escaped,
        lineage=lineage.sentences(metadata),
        recipe=escaped(recipe_of(manifest)),
        bicubic="recipe" not in manifest,
        own_lr=escaped(", ".join(sorted(own_lr))),
        data=_data(manifest),
        models=models,
        metrics=METRICS,
        scores={escaped(name): _scores(of_set, models) for name, of_set in statistics.items()},
        worst=_worst(statistics, ranking(task)),
    )


def _data(manifest: dict[str, Any]) -> list[tuple[str, str, int, str]]:
    """Return part, set, images and licences of each set."""
    rows = []
    groups = Counter((image["part"], image["set"]) for image in manifest["images"])
    for (part, name), count in sorted(groups.items(), key=lambda item: (_PARTS.index(item[0][0]), item[0][1])):
        terms = {str(image.get("licence")) for image in manifest["images"] if (image["part"], image["set"]) == (part, name)}
        rows.append((part, escaped(name), count, escaped("; ".join(sorted(terms)))))
    return rows


def _scores(of_set: dict[str, Any], models: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Return the title of each metric and its value for each of the models."""
    scored = [metric for name, metric in METRICS.items() if name in of_set["gan"]["figures"]]
    return [(metric.title, [_cell(metric.name, of_set[model]["figures"]) for model in models]) for metric in scored]


def _cell(name: str, values: dict[str, Any]) -> str:
    if name not in values:  # infinite, or not scored
        return "-"
    text, found = METRICS[name].text, values[name]
    return text(found["mean"]) + ("" if found["low"] is None else f" ({text(found['low'])} to {text(found['high'])})")


def _worst(statistics: dict[str, Any], ranked: list[str]) -> list[tuple[str, str, str]]:
    """Return set, label of the metric and names of the worst images."""
    found = [(name, metric, models["gan"]["figures"].get(metric, {})) for name, models in statistics.items() for metric in ranked]
    return [(escaped(name), METRICS[metric].label, escaped(", ".join(row["worst"]))) for name, metric, row in found if row.get("worst")]
