"""CSV files of a training."""

import csv
from pathlib import Path

from srgan.utils.files import named

Row = dict[str, float]


def validation_csv(path: Path) -> Path:
    """Return ``train_validation.csv`` for ``train.csv``. Validation has its own table because plots need tables without empty cells."""
    return path.with_stem(path.stem + "_validation")


class Table:
    """A CSV file whose rows are flushed one by one. The keys of the first row are its header.

    A row with other keys starts the table again, because plots need tables without empty cells. A continued training with another loss
    writes such rows.
    """

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self._path = path
        path.unlink(missing_ok=True)  # the file may be a link into DVC's cache
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
        """Close the file."""
        with named(self._path):
            self._file.close()
