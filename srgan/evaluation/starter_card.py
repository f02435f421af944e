"""The card of a starter as text for a terminal."""

import textwrap

import numpy as np

from srgan.evaluation.statistics import text_table
from srgan.metrics.registry import METRICS
from srgan.starters.catalogue import Starter

WIDTH = 110
MAX_ROWS = 9  # of a table of validations


def card_text(starter: Starter) -> str:
    """Return the card of a starter as readable text."""
    card = starter.card
    options = ", ".join(f"{key} {value}" for key, value in card.options.items() if key != "scale")
    change = ", ".join(f"{name} {value:+.4f} dB" for name, value in card.float16.items())
    facts = [
        ("scale", str(card.scale)),
        ("network", f"{card.network} ({options}), {card.parameters:,} weights"),
        ("licence", card.licence),
        ("file", f"{starter.weights}, {card.bytes / 1e6:.2f} MB, SHA-256 {card.sha256}"),
        ("float16", f"change of PSNR against the float32 weights that were scored: {change}"),
        *(("images", f"{each.set}: {each.images}, digest {each.sha256[:16]}, {'; '.join(each.licences)}") for each in card.data),
        ("recipe", card.recipe),
        ("profile", f"{card.profile}; params.yaml has SHA-256 {card.params_sha256[:16]}; key of the training {card.training}"),
        ("steps", ", ".join(f"{stage} {steps:,}" for stage, steps in card.steps.items())),
        *(("start", sentence) for sentence in card.started_from),
    ]
    lines = [f"{starter.name}: {card.purpose}", ""]
    for label, text in facts:
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"{label:10}", subsequent_indent=" " * 10, break_on_hyphens=False)
    lines += ["", "Scores by srgan evaluate (the starter is gan)", text_table(card.scores)]
    for stage, columns in card.validation.items():
        lines += ["", f"Validations of the stage {stage}", *_curve(columns)]
    lines += ["", "Not better than others", *(f"  {sentence}" for sentence in card.not_better or ["  nothing is recorded"])]
    return "\n".join(lines)


def _curve(columns: dict[str, list[int | float | None]]) -> list[str]:
    """Return some rows of a table of validations, from the first to the last."""
    metrics = {name: METRICS.get(name.removeprefix("val_")) for name in columns}
    rows = len(next(iter(columns.values()), []))
    lines = [" ".join(f"{metric.title if metric else name:>13}" for name, metric in metrics.items())]
    for row in np.linspace(0, rows - 1, min(rows, MAX_ROWS)).round().astype(int):
        values = [(metric, columns[name][row]) for name, metric in metrics.items()]
        cells = ["-" if value is None else metric.text(value) if metric else f"{value:g}" for metric, value in values]
        lines.append(" ".join(f"{cell:>13}" for cell in cells))
    return lines
