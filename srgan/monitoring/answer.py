"""The answer to drift: a recipe that imitates the images of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from srgan.data.estimate import Findings, recipe_text
from srgan.data.manifest import FILE as MANIFEST
from srgan.data.manifest import read_manifest
from srgan.monitoring import log as logs
from srgan.monitoring.figures import NOT_COMPRESSED
from srgan.monitoring.log import RequestLog, Row
from srgan.monitoring.reference import LEAST
from srgan.utils.errors import SrganError

FOREVER = 1e12  # seconds since 1970


@dataclass(frozen=True)
class Reason:
    """A reason to train again.

    Attributes:
        sentence: names the figures that differ.
        recipe: steps that imitate the images since they differ, for ``prepare.recipe``.
    """

    sentence: str
    recipe: list[dict[str, Any]]


def recipe(folder: Path, rows: pd.DataFrame) -> str:
    """Return a recipe as YAML that imitates logged images, see `srgan.data.estimate.recipe_text`.

    Raises:
        SrganError: too few images were measured.
    """
    findings = _findings(rows)
    if len(findings) < LEAST:
        raise SrganError(f"{folder}: {len(findings)} images were measured, and a recipe needs {LEAST}. Wait for more requests")
    return recipe_text(folder, findings, [])


def reason(folder: Path, prepared: Path) -> Reason | None:
    """Return the reason to train that a log gives, or None.

    There is one while an alarm lasts that was raised against the images of the last training.

    Args:
        folder: of the log. It need not exist.
        prepared: folder of the prepared images. It need not exist.

    Raises:
        SrganError: the log or the manifest is damaged.
    """
    if not logs.exists(folder) or not (prepared / MANIFEST).is_file():
        return None
    log = RequestLog(folder)
    alarms = log.open_alarms(read_manifest(prepared)["train_sha256"])
    if not alarms:
        return None
    differing = ", ".join(f"{alarm['figure']} {alarm['found']['before']:g} to {alarm['found']['now']:g}" for alarm in alarms)
    steps = yaml.safe_load(recipe(folder, rows_since(log, alarms)))
    return Reason(f"the images of the service differ from those of the training ({differing})", steps)


def rows_since(log: RequestLog, alarms: Sequence[Row]) -> pd.DataFrame:
    """Return the logged images since they differ: those of the block that raised the first alarm, and all after it."""
    rows = log.requests(0, FOREVER)
    rows = rows[rows["observed"] == 1]
    first = min(alarms, key=lambda alarm: alarm["at"])
    before = int((rows["at"] <= first["at"]).sum())
    return rows.iloc[max(before - int(first["found"]["count"]), 0) :]


def _findings(rows: pd.DataFrame) -> list[Findings]:
    found = rows.dropna(subset=["quality"])
    columns = found[["quality", "subsampling", "noise", "blur"]].astype(object)
    columns = columns.where(columns.notna(), None)
    return [
        Findings(None if quality >= NOT_COMPRESSED else round(quality), subsampling or "", noise, blur)
        for quality, subsampling, noise, blur in columns.itertuples(index=False)
    ]
