"""Observe the results of a service after the answer: measure them, log them, test for drift.

Requests hand over links to their files and do not wait. A thread gives them to one process, one at a time. If too many wait, a result is
logged without figures and counted.
"""

import contextlib
import logging
import multiprocessing
import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from srgan.monitoring import measure, reference
from srgan.monitoring.drift import Alarms, Drift
from srgan.monitoring.log import RequestLog, Row
from srgan.monitoring.measure import Observed, Task
from srgan.utils.errors import SrganError

WAITING = 32  # results with files
WAITING_BYTES = 1_000_000_000  # of these files
MAX_PIXELS = 64_000_000  # of a result that is measured, since it is decoded as a whole
ROWS = 10_000  # that wait to be written
SECONDS = 300  # for one result, which has the lowest priority
LOOK_SECONDS = 60  # between two looks at the reference and at old rows
SAMPLES = "samples"
MAX_SAMPLES = 1000  # pairs of files

log = logging.getLogger(__name__)

OnPair = Callable[[Observed | None], None]


@dataclass(frozen=True)
class Seen:
    """A result that was made.

    Attributes:
        row: what is known without a measurement, see `srgan.monitoring.log.DESCRIBED`.
        task: the files, which are the caller's, and how they were made.
        on_pair: gets what was observed, or None if nothing was. It is called if the task has a rival.
    """

    row: Row
    task: Task
    on_pair: OnPair | None = None


@dataclass(frozen=True)
class _Waiting:
    seen: Seen
    folder: Path | None  # of links to its files, if they are measured
    size: int  # bytes of the files


class Observer:
    """Use as a context manager. `note` may be called in any thread.

    Args:
        folder: of the log.
        keep_days: after which rows and samples are deleted.
        sample_share: share of the images that are kept with their results. 0 keeps none.
        niceness: of the process that measures, 0 to 19. At 19 it takes only the time that requests leave.

    Attributes:
        left_out: results that were logged without figures, since too many waited or they could not be measured.
        on_row: gets each row that was logged.
        lost: rows that could not be logged.
        alarms: figures that differ from those of the training.
    """

    def __init__(self, folder: Path, keep_days: float = 30, sample_share: float = 0, niceness: int = 19) -> None:
        self.folder, self._niceness = folder, niceness
        self.on_row: Callable[[Row], None] = lambda row: None
        self._keep_days, self._sample_share = keep_days, sample_share
        self.log = RequestLog(folder)
        self.left_out = self.lost = 0
        self.alarms = Alarms()
        self._reference: reference.Reference | None = None
        self._reference_state: float | None = None
        self._drift = Drift({})
        self._looked = -float("inf")
        self._queues: tuple[deque[_Waiting], deque[_Waiting]] = deque(), deque()  # those with a rival come first
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._executor: ProcessPoolExecutor | None = None
        self._pid = 0

    def __enter__(self) -> "Observer":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End without the results that wait. They are logged without figures."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._stop_process()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Results that are still to be measured."""
        with self._changed:
            return sum(bool(one.folder) for queue in self._queues for one in queue)

    def note(self, seen: Seen) -> None:
        """Take a result. Its files may be removed when this returns."""
        size = seen.task.source.stat().st_size + seen.task.result.stat().st_size
        fits = seen.row["result_width"] * seen.row["result_height"] <= MAX_PIXELS
        links = _link(seen.task) if fits and self._has_room(seen, size) else None
        with self._changed:
            if not self._ends and sum(map(len, self._queues)) < ROWS:
                self._queues[not seen.task.rival].append(_Waiting(seen, links, size))
                self._changed.notify()
                return
            self.lost += 1
        if links:
            shutil.rmtree(links, ignore_errors=True)
        if seen.on_pair:
            seen.on_pair(None)

    def _has_room(self, seen: Seen, size: int) -> bool:
        with self._changed:
            measured = [one for queue in self._queues for one in queue if one.folder]
        # A bad challenger may answer requests, so comparisons get room that others do not.
        return len(measured) < WAITING * (2 if seen.task.rival else 1) and sum(one.size for one in measured) + size <= WAITING_BYTES

    # -- in the thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(Exception):
            self._process()  # it takes seconds to begin
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(self._queues) or self._ends, LOOK_SECONDS)
                queue = next(filter(None, self._queues), None)
                waiting = queue.popleft() if queue else None
            if waiting is None and self._ends:
                return
            try:
                self._look()
                if waiting:
                    self._take(waiting.seen, waiting.folder)
            except Exception as error:  # the log must not end the service, or itself
                self.lost += 1
                log.warning("a result is not logged: %s", error)
            finally:
                if waiting and waiting.folder:
                    shutil.rmtree(waiting.folder, ignore_errors=True)

    def _take(self, seen: Seen, folder: Path | None) -> None:
        found = self._observe(_linked(seen.task, folder)) if folder and not self._ends else None
        if found is None:
            self.left_out += 1
        row = seen.row | {"observed": int(found is not None)}
        row |= found.figures | {"subsampling": found.subsampling} if found else {}
        try:
            self.log.add("requests", row)
            self.on_row(row)
            self._test(row)
            if folder and self._sample_share and random.random() < self._sample_share:
                self._keep(folder, row)
        finally:
            if seen.on_pair:
                seen.on_pair(found)

    def _observe(self, task: Task) -> Observed | None:
        try:
            return self._process().submit(measure.observe, task).result(SECONDS)
        except TimeoutError:
            log.warning("a result is not measured: it takes more than %d s", SECONDS)
        except BrokenProcessPool:
            if not self._ends:
                log.warning("a result is not measured: its process ended")
        except Exception as error:  # an image may raise anything
            log.warning("a result is not measured: %s", error)
            return None
        self._stop_process()
        return None

    def _process(self) -> ProcessPoolExecutor:
        """Return the process. It is no fork, since the threads of a model do not survive one."""
        with self._starting:
            if self._ends:
                raise BrokenProcessPool
            if self._executor:
                return self._executor
            self._executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), measure.begin, (os.getpid(), self._niceness))
            self._pid = self._executor.submit(os.getpid).result(SECONDS)
            return self._executor

    def _stop_process(self) -> None:
        with self._starting:
            executor, self._executor = self._executor, None
        if executor:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self._pid).kill()
            executor.shutdown(cancel_futures=True)

    def _look(self) -> None:
        """Read a new reference, and delete what is too old."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._prune()
        path = self.folder / reference.FILE
        state = path.stat().st_mtime if path.is_file() else None
        if state == self._reference_state:
            return
        self._reference_state = state
        try:
            self._reference = reference.read(self.folder)
        except SrganError as error:
            log.warning("%s", error)
            self._reference = None
        self._drift = Drift(self._reference.figures if self._reference else {})
        lasting = self.log.open_alarms(self._reference.data) if self._reference else []
        self.alarms = Alarms({alarm["figure"]: alarm["found"]["count"] for alarm in lasting})

    def _prune(self) -> None:
        self.log.prune(self._keep_days)
        for path in (self.folder / SAMPLES).glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - self._keep_days * 86400:
                    shutil.rmtree(path)

    def _test(self, row: Row) -> None:
        """Test for drift."""
        if not self._reference:
            return
        begun, ended = self.alarms.update(self._drift.add(row))
        for found in begun:
            log.warning(
                "drift: %s is %g in the median of the last %d images, and %g in the reference (p %.1e, PSI %.2f). See: srgan monitor %s",
                found.figure, found.now, found.count, found.before, found.p, found.psi, self.folder,
            )  # fmt: skip
            described = {"at": row["at"], "figure": found.figure, "reference": self._reference.data, "found": found.as_json()}
            self.log.add("alarms", described)
        for found in ended:
            log.info("drift: %s is as in the reference again", found.figure)
            self.log.end_alarms(found.figure, row["at"])

    def _keep(self, folder: Path, row: Row) -> None:
        """Keep an image and its result."""
        samples = self.folder / SAMPLES
        samples.mkdir(exist_ok=True)
        if len(list(samples.iterdir())) < MAX_SAMPLES:
            shutil.copytree(folder, samples / f"{row['at']:.3f}")


def _linked(task: Task, folder: Path) -> Task:
    """Return the task for the links in a folder."""
    return replace(task, source=folder / "image", result=folder / task.result.name)


def _link(task: Task) -> Path | None:
    """Link the files of a task into a folder of its own. Return None if the disk is full."""
    folder = task.source.parent.with_name(f"{task.source.parent.name}-{time.monotonic_ns():x}")
    links = _linked(task, folder)
    try:
        folder.mkdir()
        for path, link in ((task.source, links.source), (task.result, links.result)):
            try:
                link.hardlink_to(path)
            except OSError:  # a file system without links
                shutil.copyfile(path, link)
        return folder
    except OSError as error:
        log.warning("a result is not measured: %s", error.strerror or error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
