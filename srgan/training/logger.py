"""The log of a training: two CSV files, comparison images, and lines or a progress bar in the terminal."""

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
    """Writes losses, validation scores and comparison images, and shows the progress.

    The rows of a resumed run come from its checkpoint, so no row is lost or repeated.

    Args:
        path: CSV file of the losses. The scores are in `validation_csv(path)`, the last comparison image in that name with ``.png``.
        steps: of the whole run.
        label: at the beginning of each line.
        pictures: folder for the comparison image of every validation, ``step-N.png``.
        adds_colour: the network colourizes.
    """

    def __init__(self, path: Path, steps: int, label: str, pictures: Path, adds_colour: bool = False) -> None:
        self.path, self.steps, self.label, self.pictures = path, steps, label, pictures
        self._monitor = TrainingMonitor(adds_colour)
        self._open = contextlib.ExitStack()

    def start(self, step: int, rows: list[Row], scores: list[Row]) -> None:
        """Open the files after `step` with the rows so far. A second call starts again, as after a rollback."""
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = Table(self.path, rows)
        self._scores = Table(validation_csv(self.path), scores)
        self._history = list(scores)
        self._first = step
        self._begin = time.monotonic()
        for path in self.pictures.glob("step-*.png"):
            if int(path.stem.removeprefix("step-")) > step:  # of another run, or of steps that are repeated
                path.unlink()
        if step:
            log.info("%s: resumes after step %d", self.label, step)
            last = self.pictures / f"step-{scores[-1]['step']:08d}.png"
            if last.is_file():  # DVC deletes the outs of a stage before it runs again
                with atomic_file(validation_csv(self.path).with_suffix(".png")) as shown:
                    shutil.copyfile(last, shown)
        self._bar = tqdm(total=self.steps, initial=step, desc=self.label, unit="step", disable=not sys.stderr.isatty())
        if not self._bar.disable:
            self._open.enter_context(logging_redirect_tqdm())
        for end in (self._bar.close, self._rows.close, self._scores.close):
            self._open.callback(end)

    def step(self, step: int) -> None:
        """Move the progress bar. Call this after every step."""
        self._bar.update(step - self._bar.n)

    def add(self, row: Row) -> None:
        """Write a row of the losses."""
        self._rows.write(row)
        self._show(row, [key for key in row if key.startswith("loss_") or key.endswith("_accuracy")])
        self._monitor.check_losses(row)

    def add_scores(self, row: Row, strips: list[np.ndarray]) -> None:
        """Write a row of the validation scores, and the comparison images."""
        self._scores.write(row)
        self._history.append(row)
        self._show(row, list(row))
        if strips:
            self.pictures.mkdir(parents=True, exist_ok=True)
            for path in (self.pictures / f"step-{row['step']:08d}.png", validation_csv(self.path).with_suffix(".png")):
                write_comparison(path, strips)
        self._monitor.check_scores(self._history)

    def warn(self, text: str) -> None:
        """Log a problem."""
        log.warning("%s: %s", self.label, text)

    def result(self, step: int, measure: str) -> None:
        """Log which weights are kept."""
        log.info("%s: kept the averaged weights of step %d, the best of the validations by %s", self.label, step, measure)

    def _show(self, row: Row, keys: list[str]) -> None:
        shown = "  ".join(f"{key} {row[key]:.4g}" for key in keys if key in row and key != "step")
        if not self._bar.disable:
            self._bar.set_postfix_str(shown)
            return
        step = int(row["step"])
        if step == self._first:  # no speed yet
            log.info("%s %d/%d  %s", self.label, step, self.steps, shown)
            return
        seconds = (time.monotonic() - self._begin) / max(step - self._first, 1)
        left = datetime.timedelta(seconds=round(seconds * (self.steps - step)))
        log.info("%s %d/%d  %s  %.2f steps/s  %s left", self.label, step, self.steps, shown, 1 / max(seconds, 1e-9), left)

    def close(self) -> None:
        """Close the progress bar and the files."""
        self._open.close()


class SilentLog:
    """A `TrainingLog` without output, for all processes except rank 0."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None
