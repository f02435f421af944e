"""What a training tells: two CSVs for machines, pictures, lines or a bar with rate and time left for people."""

import contextlib
import datetime
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from srgan.images.visualize import write_comparison
from srgan.training.diagnostics import TrainingMonitor
from srgan.utils.csv_table import Row, Table, validation_csv
from srgan.utils.files import atomic_file

log = logging.getLogger(__name__)


class TrainingLog:
    """Writes losses to `path`, validation scores and pictures beside it, and tells people how it goes.

    The rows of a resumed run come from its checkpoint, so none is doubled or lost.

    Args:
        path: the CSV of the losses. Beside it come `validation_csv(path)` and, as ``.png``, the pictures of the last validation.
        steps: of the whole run.
        label: shown before each line.
        pictures: folder for the pictures of every validation, ``step-N.png``.
    """

    def __init__(self, path: Path, steps: int, label: str, pictures: Path) -> None:
        self.path, self.steps, self.label, self.pictures = path, steps, label, pictures
        self._monitor = TrainingMonitor()
        self._open = contextlib.ExitStack()

    def start(self, step: int, rows: list[Row], scores: list[Row]) -> None:
        """Begin, or go on, after `step`, with the rows so far. Once begun, begins anew."""
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = Table(self.path, rows)
        self._scores = Table(validation_csv(self.path), scores)
        self._seen = list(scores)
        self._first = step
        self._begin = time.monotonic()
        for path in self.pictures.glob("step-*.png"):
            if int(path.stem.removeprefix("step-")) > step:  # of another run, or of steps that are to be done again
                path.unlink()
        if step:
            log.info("%s: goes on after step %d", self.label, step)
            last = self.pictures / f"step-{scores[-1]['step']:08d}.png"
            if last.is_file():  # DVC deletes what a stage wrote before it runs again
                with atomic_file(validation_csv(self.path).with_suffix(".png")) as shown:
                    shutil.copyfile(last, shown)
        self._bar = tqdm(total=self.steps, initial=step, desc=self.label, unit="step", disable=not sys.stderr.isatty())
        if not self._bar.disable:
            self._open.enter_context(logging_redirect_tqdm())
        for end in (self._bar.close, self._rows.close, self._scores.close):
            self._open.callback(end)

    def step(self, step: int) -> None:
        """Call after every step: moves the bar."""
        self._bar.update(step - self._bar.n)

    def add(self, row: Row) -> None:
        """Write the losses of a step."""
        self._rows.write(row)
        self._tell(row, [key for key in row if key.startswith("loss_") or key.endswith("_accuracy")])
        self._monitor.check_losses(row)

    def add_scores(self, row: Row, strips: list[np.ndarray]) -> None:
        """Write the validation scores of a step, and its pictures."""
        self._scores.write(row)
        self._seen.append(row)
        self._tell(row, list(row))
        if strips:
            self.pictures.mkdir(parents=True, exist_ok=True)
            for path in (self.pictures / f"step-{row['step']:08d}.png", validation_csv(self.path).with_suffix(".png")):
                write_comparison(path, strips)
        self._monitor.check_scores(self._seen)

    def warn(self, text: str) -> None:
        """Say that something went wrong."""
        log.warning("%s: %s", self.label, text)

    def result(self, step: int, measure: str) -> None:
        """Say which weights are kept."""
        log.info("%s: kept the averaged weights of step %d, the best on the validation images by %s", self.label, step, measure)

    def _tell(self, row: Row, keys: list[str]) -> None:
        shown = "  ".join(f"{key} {row[key]:.4g}" for key in keys if key in row and key != "step")
        if not self._bar.disable:
            self._bar.set_postfix_str(shown)
            return
        step = int(row["step"])
        if step == self._first:  # no rate yet
            log.info("%s %d/%d  %s", self.label, step, self.steps, shown)
            return
        seconds = (time.monotonic() - self._begin) / max(step - self._first, 1)
        left = datetime.timedelta(seconds=round(seconds * (self.steps - step)))
        log.info("%s %d/%d  %s  %.2f steps/s  %s left", self.label, step, self.steps, shown, 1 / max(seconds, 1e-9), left)

    def close(self) -> None:
        """End the bar and the files."""
        self._open.close()


class SilentLog:
    """A `TrainingLog` of a process that has nothing to tell, since another tells it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None
