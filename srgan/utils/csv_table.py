"""The CSVs that a training writes."""

import csv
from pathlib import Path

from srgan.utils.files import named

Row = dict[str, float]


def validation_csv(path: Path) -> Path:
    """``train_validation.csv`` beside ``train.csv``: two tables, since a table with empty cells plots badly."""
    return path.with_stem(path.stem + "_validation")


class Table:
    """A CSV whose rows are on disk as soon as they are written; the keys of the first are its header.

    A row of other keys, as a continued training with another loss writes them, begins the table again: one with empty cells plots badly.
    """

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self._path = path
        path.unlink(missing_ok=True)  # it may be a link into DVC's cache
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        """Append a row."""
        if self._writer is None or set(row) != set(self._writer.fieldnames):
            self._file.seek(0)
            self._file.truncate()
            self._writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)
        with named(self._path):
            self._file.flush()

    def close(self) -> None:
        """End the file."""
        with named(self._path):
            self._file.close()
