"""``srgan monitor``: a day of a service as values, as a page and as an MLflow run."""

import datetime
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from srgan.config.project import Project
from srgan.monitoring import comparison, drift
from srgan.monitoring.figures import DIGITS, INPUT, RESULT, TITLES
from srgan.monitoring.log import RequestLog, Row
from srgan.monitoring.reference import Reference
from srgan.pages.render import render
from srgan.tracking import optional
from srgan.utils.errors import SrganError
from srgan.utils.files import write_text

BINS = 24  # of a histogram
PERCENTILES = (10, 50, 90)

log = logging.getLogger(__name__)


class NoRequests(SrganError):
    """A log without requests of a day."""


def report(folder: Path, day: datetime.date, reference: Reference | None, project: Project = Project()) -> dict[str, Any]:  # noqa: B008 (it is immutable)
    """Sum up a day, write its page and log it in MLflow.

    Args:
        folder: of the log.
        day: in the time zone of this machine.
        reference: what the images are compared with, or None.
        project: whose MLflow store gets the values, if it has one.

    Returns:
        `day`, `values` (numbers by their name in MLflow), `figures` (rows of the table), `models`, `alarms`, `trials` and `page`.

    Raises:
        NoRequests: the log has none of this day.
        SrganError: the log is damaged.
    """
    found = summary(folder, day, reference)
    page = folder / f"{day}.html"
    write_text(page, render("monitor.html", package="srgan.monitoring", **found))
    _send(project, folder, found, page)
    return found | {"page": page}


def summary(folder: Path, day: datetime.date, reference: Reference | None) -> dict[str, Any]:
    """Return what the page of a day shows, see `report`."""
    records = RequestLog(folder)
    begin, end = (datetime.datetime.combine(day + datetime.timedelta(days), datetime.time()).timestamp() for days in (0, 1))
    rows = records.requests(begin, end)
    if rows.empty:
        raise NoRequests(f"{folder}: no request on {day}. Name another day with --day, or start: srgan serve --monitor {folder}")
    figures = [_figure_row(name, rows, reference) for name in (*INPUT, *RESULT)]
    alarms = [alarm | {"title": TITLES[alarm["figure"]], "period": _period(alarm)} for alarm in records.alarms(begin, end)]
    values = {
        "requests": len(rows),
        "observed": int(rows["observed"].sum()),
        "seconds_p50": float(rows["seconds"].quantile(0.5)),
        "seconds_p99": float(rows["seconds"].quantile(0.99)),
        "megapixels": float((rows["result_width"] * rows["result_height"]).sum() / 1e6),
        "alarms": len(alarms),
    }
    values |= {row["name"]: row["now"][1] for row in figures if row["now"]}
    values |= {f"psi/{row['name']}": row["psi"] for row in figures if row["psi"] is not None}
    return {
        "day": str(day),
        "values": values,
        "figures": figures,
        "models": _models(rows),
        "alarms": alarms,
        "trials": _trials(records, rows),
        "reference": reference.origin if reference else "",
        "hours": _svg(_hours(rows)),
    }


def text(found: Mapping[str, Any]) -> str:
    """Return a day for a terminal, see `report`."""
    values = found["values"]
    lines = [
        f"{found['day']}: {values['requests']} results, {values['observed']} measured, "
        f"p50 {values['seconds_p50']:.2f} s, p99 {values['seconds_p99']:.2f} s"
    ]
    for row in found["figures"]:
        if row["now"]:
            before = f", reference {row['before'][1]:.{row['digits']}f}, PSI {row['psi']:.2f}" if row["before"] else ""
            lines.append(f"  {row['title']}: {row['now'][1]:.{row['digits']}f}{before}")
    lines += [f"  drift of {alarm['title']} {alarm['period']}" for alarm in found["alarms"]]
    lines += [f"  challenger {trial['challenger']}, rolled back: {trial['verdict']}" for trial in found["trials"] if trial["verdict"]]
    return "\n".join(lines)


def _figure_row(name: str, rows: pd.DataFrame, reference: Reference | None) -> dict[str, Any]:
    """Return the row of a figure: percentiles of the day and of the reference, and their difference."""
    values = rows[name].dropna().to_numpy(float)
    before = np.array([value for value in (reference.figures.get(name, ()) if reference else ()) if value is not None])
    both = len(values) and len(before)
    test = drift.look(name, before, values, level=0.0) if both else None
    return {
        "name": name,
        "title": TITLES[name],
        "digits": DIGITS[name],
        "count": len(values),
        "now": np.percentile(values, PERCENTILES).tolist() if len(values) else None,
        "before": np.percentile(before, PERCENTILES).tolist() if len(before) else None,
        "distance": test.distance if test else None,
        "psi": test.psi if test else None,
        "svg": _svg(_histogram(values, before)) if len(values) else "",
    }


def _models(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the models of a day with their requests and times."""
    grouped = rows.groupby(["model", "version", "sha256", "role"], sort=False)["seconds"]
    return [
        {"model": model, "version": version, "sha256": digest, "role": role, "requests": len(seconds)}
        | {f"p{percent}": float(seconds.quantile(percent / 100)) for percent in (50, 99)}
        for (model, version, digest, role), seconds in grouped
    ]


def _trials(records: RequestLog, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the comparisons with the champions of a day."""
    found = []
    for champion in rows.loc[rows["role"] == "champion", "sha256"].unique():
        for challenger in records.challengers(champion):
            pairs = records.pairs(champion, challenger)
            rises = comparison.rises(pairs)
            found.append(
                {
                    "champion": champion[:16],
                    "challenger": challenger[:16],
                    "images": len(pairs),
                    "verdict": records.verdict(challenger) or "",
                    "rises": [{"title": TITLES[name], "rise": rises[name], "digits": DIGITS[name]} for name in RESULT if name in rises],
                }
            )
    return found


def _send(project: Project, folder: Path, found: dict[str, Any], page: Path) -> None:
    """Log the day in MLflow. Without MLflow or without a project the page is all there is."""
    try:
        monitor_run = optional.load("monitor_run")
    except ImportError as error:
        log.warning("MLflow is not installed (%s), so the day is not recorded there", error)
        return
    if not monitor_run.has_store(project):
        return
    try:
        monitor_run.record(project, folder.resolve().name, found["day"], found["values"], page)
    except SrganError as error:
        log.warning("%s. The page is safe, send it later with: srgan monitor %s --day %s", error, folder, found["day"])


# -- charts ----------------------------------------------------------------------------------------------------------------


def _histogram(values: np.ndarray, before: np.ndarray) -> Figure:
    both = np.concatenate([values, before])
    low, high = both.min(), both.max()
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    figure, axes = _axes(3.4)
    axes.hist(values, edges, weights=np.full(len(values), 1 / len(values)), color="C0", alpha=0.7)
    if len(before):
        axes.hist(before, edges, weights=np.full(len(before), 1 / len(before)), histtype="step", color="C1", linewidth=1.5)
    return figure


def _hours(rows: pd.DataFrame) -> Figure:
    hours = [datetime.datetime.fromtimestamp(at).hour for at in rows["at"]]
    figure, axes = _axes(9)
    axes.bar(range(24), np.bincount(hours, minlength=24))
    axes.set_xticks(range(24))
    axes.set_xlabel("hour")
    axes.set_ylabel("results")
    return figure


def _axes(width: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, 1.6), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "srgan", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg style="max-width:100%;height:auto;background:#fff" ', 1)


def _period(alarm: Row) -> str:
    begin, end = (datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M") if at else "" for at in (alarm["at"], alarm["ended"]))
    return f"from {begin} to {end}" if end else f"since {begin}"
