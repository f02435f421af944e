"""Progress of long work: a bar on a terminal, a plain line now and then in a log; both with rate and time left."""

import logging
import threading
import time

from tqdm import tqdm

LINE_PERIOD = 15.0  # seconds between two lines in a log

log = logging.getLogger(__name__)


class Progress:
    """Counts things that get done. Use as a context manager; threads may share one.

    Args:
        title: what is being done.
        total: how many there are; None if nobody knows.
        unit: of what; ``B`` for bytes, which are shown as kB, MB, ...
    """

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.start = 0, time.monotonic()
        self.next_line = self.start + LINE_PERIOD
        self.lock = threading.Lock()
        self.bar = tqdm(total=total, unit=unit, unit_scale=unit == "B", desc=title, disable=None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, count: int) -> None:
        """So many more are done; a negative count for what has to be done again."""
        with self.lock:
            self.done += count
            self.bar.update(count)
            if self.bar.disable and time.monotonic() >= self.next_line:
                self.next_line = time.monotonic() + LINE_PERIOD
                log.info("%s", self._line())

    def _line(self) -> str:
        form = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left"
        scaled = self.unit == "B"
        elapsed = time.monotonic() - self.start
        return tqdm.format_meter(self.done, self.total, elapsed, prefix=self.title, unit=self.unit, unit_scale=scaled, bar_format=form)
