"""The clock of a speedrun: a journal of each attempt at a training stage.

A thread writes a row every few seconds. A killed attempt keeps its rows, so that its time counts. Each row has the monotonic clock, which
counts, and the system clock, which has to agree with it. A jump of the system clock and the sleep of a laptop are both a disagreement.
"""

import csv
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path

import psutil
import torch

from srgan.utils import machine
from srgan.utils.csv_table import validation_csv

BEAT_SECONDS = 5.0  # between two rows
TOLERANCE_SECONDS = 3.0  # of an attempt: NTP shifts the system clock by at most 0.5 ms per second

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A row of the journal.

    Attributes:
        stage: training stage.
        event: ``start``, ``beat``, ``stop`` (an error or an interruption) or ``end``.
        monotonic: monotonic clock in seconds. It is comparable within an attempt.
        wall: system clock, in seconds since 1970.
        step: at the start that of the checkpoint, later that of the last validation.
        cores: number of cores that the process may use.
        threads: threads of torch.
        others: cores that other programs used on average since the row before.
    """

    stage: str
    event: str
    monotonic: float
    wall: float
    step: int
    cores: int
    threads: int
    others: float


HEADER = [field.name for field in fields(Row)]


class Clock:
    """The journal of a run.

    Args:
        path: CSV file. A run that is continued appends to it.
        limit: seconds of the track.
        monotonic: the clock that counts.
        wall: the system clock.
    """

    def __init__(
        self, path: Path, limit: float, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.path, self.limit = path, limit
        self._monotonic, self._wall = monotonic, wall
        self._warned = False

    @contextmanager
    def running(self, stage: str, checkpoints: Path, losses: Path) -> Iterator[None]:
        """Count the time of the block.

        Args:
            stage: training stage.
            checkpoints: folder of its checkpoints.
            losses: CSV of its losses, next to that of its validations.
        """
        before = seconds(read_journal(self.path))
        steps = [int(path.stem.removeprefix("step-")) for path in checkpoints.glob("step-*.pt")]
        done, load, start = threading.Event(), _Load(self._monotonic), self._monotonic()

        def write(event: str, step: int) -> None:
            row = Row(stage, event, self._monotonic(), self._wall(), step, machine.cores(), torch.get_num_threads(), load.others())
            self._append(row)
            self._warn(before + row.monotonic - start)

        def follow() -> None:
            while not done.wait(BEAT_SECONDS):
                with suppress(OSError):  # a full disk ends the training, not this thread
                    write("beat", _last_step(losses))

        thread = threading.Thread(target=follow, name="clock", daemon=True)
        write("start", max(steps, default=0))
        thread.start()
        event = "stop"
        try:
            yield
            event = "end"
        finally:
            done.set()
            thread.join()
            write(event, _last_step(losses))

    def _append(self, row: Row) -> None:
        new = not self.path.is_file() or not self.path.stat().st_size
        line = io.StringIO()
        if new:
            csv.writer(line, lineterminator="\n").writerow(HEADER)
        elif not self.path.read_bytes().endswith(b"\n"):  # the row of a killed process
            line.write("\n")
        csv.writer(line, lineterminator="\n").writerow([f"{value:.3f}" if isinstance(value, float) else value for value in astuple(row)])
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def _warn(self, used: float) -> None:
        if used > self.limit and not self._warned:
            self._warned = True
            log.warning(
                "speedrun: the %s of the track are over. The result cannot be a record. Stop with Ctrl-C and choose fewer steps",
                minutes(self.limit),
            )


class _Load:
    """Measure the cores that other programs use."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._process = monotonic, psutil.Process()
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        own = self._process.cpu_times()
        return self._monotonic(), machine.busy_seconds() - own.user - own.system

    def others(self) -> float:
        """Return the mean since the last call."""
        (start, before), self._last = self._last, self._now()
        elapsed = self._last[0] - start
        return max(0.0, (self._last[1] - before) / elapsed) if elapsed > 0.1 else 0.0


def _last_step(losses: Path) -> int:
    """Return the step of the last validation, or 0."""
    path = validation_csv(losses)
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    first = lines[-1].partition(",")[0] if lines else "0"
    return int(first) if first.isdecimal() else 0


def read_journal(path: Path) -> list[Row]:
    """Return the rows of a journal. A row that a killed process did not complete is left out."""
    found = []
    for values in csv.reader(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else []:
        with suppress(ValueError, TypeError):
            stage, event, *numbers = values
            monotonic, wall, step, cores, threads, others = numbers
            found.append(Row(stage, event, float(monotonic), float(wall), int(step), int(cores), int(threads), float(others)))
    return found


def attempts(rows: list[Row]) -> list[list[Row]]:
    """Return the rows of each attempt."""
    starts = [number for number, row in enumerate(rows) if row.event == "start"]
    return [rows[first:last] for first, last in pairwise([*starts, len(rows)])]


def _length(attempt: list[Row]) -> float:
    """Return the seconds of an attempt. A killed one may have worked for another `BEAT_SECONDS` after its last row."""
    lost = 0.0 if attempt[-1].event in ("stop", "end") else BEAT_SECONDS
    return attempt[-1].monotonic - attempt[0].monotonic + lost


def seconds(rows: list[Row], stage: str | None = None) -> float:
    """Return the seconds of all attempts, or of those of a stage."""
    return sum(_length(attempt) for attempt in attempts(rows) if stage in (None, attempt[0].stage))


def elapsed(rows: list[Row]) -> list[tuple[Row, float]]:
    """Return each row with the seconds of training before it."""
    found, before = [], 0.0
    for attempt in attempts(rows):
        found += [(row, before + row.monotonic - attempt[0].monotonic) for row in attempt]
        before += _length(attempt)
    return found


def disagreements(rows: list[Row], stages: tuple[str, ...]) -> list[str]:
    """Return what is wrong with a journal, as sentences.

    Args:
        rows: the journal.
        stages: training stages of the track.
    """
    found = []
    tries = attempts(rows)
    if not tries or rows[0].event != "start":
        return ["the clock has no beginning"]
    for stage in stages:
        of_stage = [attempt for attempt in tries if attempt[0].stage == stage]
        if not of_stage or of_stage[-1][-1].event != "end":
            found.append(f"the clock has no end of the stage {stage}")
        if of_stage and of_stage[0][0].step:
            found.append(f"the clock misses the first {of_stage[0][0].step} steps of the stage {stage}")
    for attempt in tries:
        for row, following in pairwise(attempt):
            if following.monotonic < row.monotonic:
                found.append("the monotonic clock ran backwards")
        drift = [(row.wall - attempt[0].wall) - (row.monotonic - attempt[0].monotonic) for row in attempt]
        if (worst := max(drift, key=abs)) and abs(worst) > TOLERANCE_SECONDS:
            found.append(f"the system clock moved by {worst:+.0f} s against the monotonic clock: it was set, or the machine slept")
    for earlier, later in pairwise(tries):
        if (back := earlier[-1].wall - later[0].wall) > TOLERANCE_SECONDS:
            found.append(f"the system clock was set back by {back:.0f} s between two attempts")
    return list(dict.fromkeys(found))


def minutes(value: float) -> str:
    """Return seconds as text, such as ``28 minutes``, or ``40 seconds`` below two minutes."""
    return f"{value / 60:.3g} minutes" if value >= 120 else f"{value:.3g} seconds"
