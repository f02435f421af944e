"""The log of a service: one row for each result, in SQLite. It holds no image, no name of a file and no address of a client."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from srgan.monitoring.figures import INPUT, RESULT, Figures
from srgan.utils.errors import SrganError

FILE = "requests.sqlite"
DAY = 86400  # seconds
BUSY_SECONDS = 10  # to wait for another program that writes
# `at` is the time in seconds since 1970. `seconds` is the time from the complete image to the result. `observed` is 0 for a row without
# figures: nothing was measured since too many waited.
DESCRIBED = {
    "at": "REAL NOT NULL",
    "kind": "TEXT",
    "role": "TEXT",
    "model": "TEXT",
    "alias": "TEXT",
    "version": "TEXT",
    "sha256": "TEXT",
    "width": "INTEGER",
    "height": "INTEGER",
    "result_width": "INTEGER",
    "result_height": "INTEGER",
    "format": "TEXT",
    "seconds": "REAL",
    "subsampling": "TEXT",
    "observed": "INTEGER",
}
FIGURES = dict.fromkeys([*INPUT, *RESULT], "REAL")
TABLES = {
    "requests": DESCRIBED | FIGURES,
    "alarms": {"at": "REAL NOT NULL", "ended": "REAL", "figure": "TEXT", "reference": "TEXT", "found": "TEXT"},
    "pairs": {"at": "REAL NOT NULL", "champion": "TEXT", "challenger": "TEXT", "figures": "TEXT"},
    "trials": {"at": "REAL NOT NULL", "challenger": "TEXT", "reason": "TEXT"},
}

Row = dict[str, Any]


class RequestLog:
    """The log in a folder. One program writes and others may read.

    Args:
        folder: is created.

    Raises:
        SrganError: the file is no log, or is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        if folder.exists() and not folder.is_dir():
            raise SrganError(f"{folder}: is no folder. Name a folder for the log")
        folder.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute("PRAGMA journal_mode=WAL")
            for table, columns in TABLES.items():
                described = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, {described})")
                database.execute(f"CREATE INDEX IF NOT EXISTS {table}_at ON {table} (at)")
                found = [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]
                if found != ["id", *columns]:
                    raise SrganError(f"{self.path}: has other columns than this version writes. Move it to another folder")

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Append a row to a table of `TABLES`."""
        with self._open() as database:
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def requests(self, begin: float, end: float) -> pd.DataFrame:
        """Return the rows of the time from `begin` to before `end`, in seconds since 1970, in their order."""
        return self._read("SELECT * FROM requests WHERE at >= ? AND at < ? ORDER BY at, id", begin, end)

    # -- alarms ---------------------------------------------------------------------------------------------------------------

    def alarms(self, begin: float, end: float) -> list[Row]:
        """Return the alarms that began or lasted in a time. `found` holds the test that raised it, see `srgan.monitoring.drift.Look`."""
        rows = self._read("SELECT * FROM alarms WHERE at < ? AND (ended IS NULL OR ended >= ?) ORDER BY at", end, begin)
        return [row | {"found": json.loads(row["found"])} for row in _records(rows)]

    def open_alarms(self, reference: str) -> list[Row]:
        """Return the alarms against a reference that have not ended."""
        return [row for row in self.alarms(0, time.time() + DAY) if row["ended"] is None and row["reference"] == reference]

    def end_alarms(self, figure: str, at: float) -> None:
        """Note that a figure is normal again."""
        with self._open() as database:
            database.execute("UPDATE alarms SET ended = ? WHERE figure = ? AND ended IS NULL", (at, figure))

    # -- comparison with a challenger -----------------------------------------------------------------------------------------

    def pairs(self, champion: str, challenger: str) -> list[dict[str, Figures]]:
        """Return the figures of both models for each image that both upscaled. The models are named by their digests."""
        rows = self._read("SELECT figures FROM pairs WHERE champion = ? AND challenger = ? ORDER BY id", champion, challenger)
        return [json.loads(row) for row in rows["figures"]]

    def add_pair(self, champion: str, challenger: str, pair: dict[str, Figures]) -> None:
        """Append the figures of an image that both models upscaled."""
        row = {"at": time.time(), "champion": champion, "challenger": challenger, "figures": json.dumps(pair)}
        self.add("pairs", row)

    def challengers(self, champion: str) -> list[str]:
        """Return the digests of the models that were compared with a champion."""
        return list(self._read("SELECT DISTINCT challenger FROM pairs WHERE champion = ? ORDER BY id", champion)["challenger"])

    def add_verdict(self, challenger: str, reason: str) -> None:
        """Note that a challenger was rolled back."""
        self.add("trials", {"at": time.time(), "challenger": challenger, "reason": reason})

    def verdict(self, challenger: str) -> str | None:
        """Return the reason why a challenger was rolled back, or None if it was not."""
        rows = self._read("SELECT reason FROM trials WHERE challenger = ? ORDER BY id DESC LIMIT 1", challenger)
        return None if rows.empty else str(rows["reason"][0])

    # -- retention ------------------------------------------------------------------------------------------------------------

    def prune(self, days: float) -> None:
        """Delete what is older than some days. Verdicts and alarms that last are kept."""
        before = time.time() - days * DAY
        with self._open() as database:
            for condition in ("requests WHERE at < ?", "pairs WHERE at < ?", "alarms WHERE ended < ?"):
                database.execute(f"DELETE FROM {condition}", (before,))

    def _read(self, query: str, *values: Any) -> pd.DataFrame:
        with self._open() as database:
            return pd.read_sql_query(query, database, params=values)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of this thread whose changes are committed."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as database, database:
                database.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the latest rows and damages nothing
                database.execute("PRAGMA secure_delete=ON")  # the retention is a promise
                yield database
        except (sqlite3.Error, pd.errors.DatabaseError) as error:
            raise SrganError(f"{self.path}: the log cannot be used ({error}). If it is damaged, move it to another folder") from error


def _records(table: pd.DataFrame) -> list[Row]:
    """Return rows with None in place of missing values."""
    return table.astype(object).where(table.notna(), None).to_dict("records")  # type: ignore[return-value]


def exists(folder: Path) -> bool:
    """Return True if a folder has a log."""
    return (folder / FILE).is_file()
