"""``srgan study report``: the results as JSON, as a page and in MLflow."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from srgan.config.project import Project
from srgan.pages.render import render
from srgan.study.analysis import analyse
from srgan.study.answers import accept, collect
from srgan.study.files import read_key, read_study
from srgan.study.results import answer_tables, rater_rows
from srgan.tracking import optional
from srgan.utils.errors import SrganError
from srgan.utils.files import write_json, write_text

JSON, PAGE = "report.json", "report.html"

log = logging.getLogger(__name__)


def report(folder: Path, returned: Iterable[Path] = (), project: Project = Project()) -> dict[str, Any]:  # noqa: B008 (it is immutable)
    """Analyse the answers of a study and write ``report.json`` and ``report.html``.

    Args:
        folder: of the study.
        returned: signed answer files. They are kept with the study.
        project: whose MLflow store gets the result, if it has one.

    Returns:
        What the file holds: `id`, `question`, `sources`, `raters`, `models`, `pairs` and `agreement`, see
        `srgan.study.analysis.analyse` and `srgan.study.results.rater_rows`.

    Raises:
        SrganError: a file is damaged or has a wrong signature, or there is no answer to analyse.
    """
    study = read_study(folder)
    key = read_key(folder, study)
    for path in returned:
        log.info("%s: the answers of rater %d", path, accept(path, folder, study, key))
    votes, checks = answer_tables(study, key, collect(folder, study, key))
    raters = rater_rows(study, votes, checks)
    excluded = [row["rater"] for row in raters if row["excluded"]]
    counted = votes[~votes["rater"].isin(excluded)].reset_index(drop=True)
    if counted.empty:
        reason = "all raters failed the attention checks" if excluded else "no rater has answered yet"
        raise SrganError(f"{folder}: nothing to analyse: {reason}. Invite raters with: srgan study open {folder}")
    sources = {label: model.model_dump() for label, model in key.models.items()}
    found = {"id": study.id, "question": study.question, "sources": sources, "raters": raters, **analyse(counted, list(sources))}
    write_json(folder / JSON, found)
    write_text(folder / PAGE, page(found))
    _send(project, folder, found)
    return found


def _send(project: Project, folder: Path, found: dict[str, Any]) -> None:
    """Log the result in MLflow. Without MLflow or without a project the files are all there is."""
    try:
        preference = optional.load("preference")
    except ImportError as error:
        log.warning("MLflow is not installed (%s), so the result is not recorded there", error)
        return
    if not preference.has_store(project):
        return
    try:
        preference.record(project, folder.resolve().name, found, [folder / JSON, folder / PAGE])
    except SrganError as error:
        log.warning("%s. The files are safe, send them later with: srgan study report %s", error, folder)


def page(found: dict[str, Any]) -> str:
    """Return the result as a page."""
    bounds = [value for row in found["models"] for value in (row["strength"], row["low"], row["high"]) if value is not None]
    span = max(abs(value) for value in bounds) or 1.0
    return render("study_report.html", package="srgan.study", found=found, span=span, summary=summary(found))


def summary(found: dict[str, Any]) -> list[str]:
    """Return the result in sentences."""
    best, *_ = found["models"]
    counted = [row for row in found["raters"] if row["answers"] and not row["excluded"]]
    people = f"{len(counted)} rater{'s' if len(counted) > 1 else ''}"
    sentences = [f"{people} preferred {best['model']} in {best['preferred']:.0%} of its {best['answers']} comparisons."]
    sentences += [f"Rater {row['rater']} is left out: {row['excluded']}." for row in found["raters"] if row["excluded"]]
    sure = [pair for pair in found["pairs"] if pair["low"] is not None and (pair["low"] > 0.5 or pair["high"] < 0.5)]
    sentences.append(f"{len(sure)} of {len(found['pairs'])} pairs of models differ with the whole 95 % interval.")
    return sentences


def text_table(found: dict[str, Any]) -> str:
    """Return the result as a table for a terminal."""
    lines = [f"{'model':20} {'strength':>8} {'95 % interval':>18} {'preferred':>9} {'answers':>7}"]
    for row in found["models"]:
        interval = "-" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}"
        preferred = "-" if row["preferred"] is None else f"{row['preferred']:.0%}"
        lines.append(f"{row['model']:20} {row['strength']:+8.2f} {interval:>18} {preferred:>9} {row['answers']:>7}")
    for pair in found["pairs"]:
        interval = "" if pair["low"] is None else f" ({pair['low']:.0%} to {pair['high']:.0%})"
        lines.append(
            f"{pair['first']} over {pair['second']}: {pair['share']:.0%}{interval} of {pair['answers']} answers, p {pair['p_adjusted']:.3g}"
        )
    return "\n".join([*lines, *summary(found)])
