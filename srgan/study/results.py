"""From the answers of the raters to the table that is analysed: who counts, and what was compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from srgan.study.answers import Answer
from srgan.study.files import Key, Study

MAX_FAILED = 0.2  # share of the attention checks that a rater may fail: one slip in the usual eight

COLUMNS = ("rater", "image", "first", "second", "choice", "left", "seconds")


def answer_tables(study: Study, key: Key, answers: Mapping[int, Mapping[int, Answer]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers to comparisons and those to attention checks.

    Args:
        study: the study.
        key: its key.
        answers: by rater and trial.

    Returns:
        Comparisons: columns `rater`, `image`, `first`, `second` (labels in the order of the study), `choice` (``first``, ``equal`` or
        ``second``), `left` (True if the left picture was chosen, None if equal) and `seconds`. Checks: `rater` and `passed`.
    """
    rows, checks = [], []
    order = list(key.models)
    for rater, of_rater in answers.items():
        for trial, answer in of_rater.items():
            sides = [key.pictures[name] for name in study.raters[rater - 1].trials[trial]]
            models = [side.model for side in sides]
            if None in models:
                checks.append((rater, answer.choice == ("right" if models[0] is None else "left")))
                continue
            swapped = order.index(str(models[0])) > order.index(str(models[1]))
            first, second = models[::-1] if swapped else models
            choice = {"left": "second" if swapped else "first", "right": "first" if swapped else "second"}.get(str(answer.choice), "equal")
            left = None if answer.choice == "equal" else answer.choice == "left"
            rows.append((rater, sides[0].image, first, second, choice, left, answer.seconds))
    return pd.DataFrame(rows, columns=list(COLUMNS)), pd.DataFrame(checks, columns=["rater", "passed"])


def rater_rows(study: Study, votes: pd.DataFrame, checks: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each rater did, and why the answers of a rater do not count.

    Returns:
        For each rater `rater`, `answers` and `trials`, `checks` and `failed`, `left` (share of the left pictures among the chosen ones),
        `equal` (share of equal answers), `seconds` (median) and `excluded`: a reason, or an empty text.
    """
    rows = []
    for rater in range(1, len(study.raters) + 1):
        given, checked = votes[votes["rater"] == rater], checks[checks["rater"] == rater]
        failed = int((~checked["passed"].astype(bool)).sum())
        sides = given["left"].dropna()
        row = {
            "rater": rater,
            "answers": len(given) + len(checked),
            "trials": len(study.raters[rater - 1].trials),
            "checks": len(checked),
            "failed": failed,
            "left": round(float(sides.mean()), 3) if len(sides) else None,
            "equal": round(float((given["choice"] == "equal").mean()), 3) if len(given) else None,
            "seconds": round(float(np.median(given["seconds"])), 1) if len(given) else None,
            "excluded": f"failed {failed} of {len(checked)} attention checks" if failed > MAX_FAILED * len(checked) else "",
        }
        rows.append(row)
    return rows
