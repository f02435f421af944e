"""What a training tells: two CSVs for machines, lines or a bar with rate and time left for people."""

import csv
import datetime
import logging
import sys
import time
from pathlib import Path

from tqdm import tqdm

log = logging.getLogger(__name__)

Row = dict[str, float | int]

VALIDATION = ["step", "val_psnr_y", "val_ssim_y"]


def validation_csv(path: Path) -> Path:
    """``train_validation.csv`` beside ``train.csv``: two tables, since a table with empty cells plots badly."""
    return path.with_stem(path.stem + "_validation")


class TrainingLog:
    """Writes losses to `path` and validation scores to `validation_csv(path)`, row by row.

    The rows of a resumed run come from its checkpoint, so none is doubled or lost.

    Args:
        path: the CSV of the losses.
        columns: its header, `step` among them.
        steps: of the whole run.
        label: shown before each line.
    """

    def __init__(self, path: Path, columns: list[str], steps: int, label: str) -> None:
        self.path, self.columns, self.steps, self.label = path, columns, steps, label
        self.rows: list[Row] = []
        self.scores: list[Row] = []

    def start(self, step: int, rows: list[Row], scores: list[Row]) -> None:
        """Begin, or go on, after `step`, with the rows so far."""
        self.rows, self.scores = rows, scores
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = _Table(self.path, self.columns, rows)
        self._scores = _Table(validation_csv(self.path), VALIDATION, scores)
        self._first = step
        self._begin = time.monotonic()
        self._bar = tqdm(total=self.steps, initial=step, desc=self.label, unit="step", disable=not sys.stderr.isatty())

    def step(self, step: int) -> None:
        """Call after every step: moves the bar."""
        self._bar.update(step - self._bar.n)

    def add(self, row: Row) -> None:
        """Write the losses of a step."""
        self.rows.append(row)
        self._rows.write(row)
        self._tell(row)

    def add_scores(self, row: Row) -> None:
        """Write the validation scores of a step."""
        self.scores.append(row)
        self._scores.write(row)
        self._tell(row)

    def _tell(self, row: Row) -> None:
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "step")
        if not self._bar.disable:
            self._bar.set_postfix_str(shown)
            return
        step = int(row["step"])
        seconds = (time.monotonic() - self._begin) / max(step - self._first, 1)
        left = datetime.timedelta(seconds=round(seconds * (self.steps - step)))
        log.info("%s %d/%d  %s  %.2f steps/s  %s left", self.label, step, self.steps, shown, 1 / max(seconds, 1e-9), left)

    def close(self) -> None:
        """End the bar and the files."""
        self._bar.close()
        self._rows.close()
        self._scores.close()


class _Table:
    """A CSV whose rows are on disk as soon as they are written."""

    def __init__(self, path: Path, columns: list[str], rows: list[Row]) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns, lineterminator="\n")
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()

    def write(self, row: Row) -> None:
        self._writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
