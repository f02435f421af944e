"""`srgan monitor`."""

import datetime
import logging
from pathlib import Path
from typing import Annotated

import typer

from srgan.utils.errors import SrganError

EPILOG = """\
\b
Examples:
  srgan serve --monitor monitor                   # log the results of a service
  srgan monitor monitor                           # today: monitor/2026-11-28.html
  srgan monitor monitor --day 2026-11-27
  srgan monitor monitor --reference photos        # compare with the images of a folder
  srgan monitor monitor --recipe recipe.yaml      # imitate the images of the service
"""

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command(epilog=EPILOG)
def monitor(
    folder: Annotated[Path, typer.Argument(parser=Path, metavar="FOLDER", help="That `srgan serve --monitor` writes.")] = Path("monitor"),
    day: Annotated[
        str | None, typer.Option(parser=str, metavar="DATE", help="Such as 2026-11-28, in the time zone of this machine. Default: today.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            parser=Path,
            metavar="IMAGES",
            help="Compare with the images of this folder from now on. Default: the training images of the project, if it has some.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="FILE", help="Write a recipe that imitates the images of the day, or since they drift."),
    ] = None,
) -> None:
    """Sum up a day of a service: figures, drift, models. Write a page and an MLflow run."""
    from srgan.config.project import Project
    from srgan.monitoring import log as logs
    from srgan.monitoring import reference as references
    from srgan.monitoring import report

    if not logs.exists(folder):
        raise SrganError(f"{folder}: no log of a service. Write one with: srgan serve --monitor {folder}")
    project, chosen = Project(), _date(day)
    if reference and reference.resolve() == folder.resolve():
        raise SrganError(f"{reference}: is the folder of the log. Name a folder of images")
    known = references.update(folder, project.prepared, reference)
    try:
        found = report.report(folder, chosen, known, project)
    except report.NoRequests as error:
        if recipe or not reference:
            raise
        log.info("%s", error)  # the reference was the task, and a service needs one before its first request
        return
    print(report.text(found))
    log.info("%s: the page", found["page"])
    if recipe:
        _write_recipe(folder, chosen, recipe)


def _date(day: str | None) -> datetime.date:
    try:
        return datetime.date.fromisoformat(day) if day else datetime.date.today()
    except ValueError as error:
        raise SrganError(f"--day {day}: not a date. Write it as {datetime.date.today()}") from error


def _write_recipe(folder: Path, day: datetime.date, path: Path) -> None:
    from srgan.monitoring import answer
    from srgan.monitoring.log import RequestLog
    from srgan.monitoring.reference import read
    from srgan.utils.files import write_text

    records, known = RequestLog(folder), read(folder)
    alarms = records.open_alarms(known.data) if known else []
    begin = datetime.datetime.combine(day, datetime.time()).timestamp()
    rows = answer.rows_since(records, alarms) if alarms else records.requests(begin, begin + 86400)
    write_text(path, answer.recipe(folder, rows))
    log.info("%s: a recipe for prepare.recipe, from %d images", path, len(rows))
