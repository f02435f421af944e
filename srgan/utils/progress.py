"""Show the progress of long work with rate and remaining time: a bar on a terminal, a line now and then in a log."""

import logging
import threading
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0  # in a log

log = logging.getLogger(__name__)


class Progress:
    """A counter of finished items. Use it as a context manager. Threads may share one.

    Args:
        title: name of the work.
        total: number of items, None if it is unknown.
        unit: name of an item. ``B`` stands for bytes, which are shown as kB, MB and so on.
        before: items that were finished before. They do not count for the rate.
    """

    def __init__(self, title: str, total: int | None, unit: str, before: int = 0) -> None:
        self.title, self.total, self.unit, self.before = title, total, unit, before
        self.done, self.start = before, time.monotonic()
        self.next_line = self.start + SECONDS_BETWEEN_LINES
        self.lock = threading.Lock()
        self.bar = tqdm(total=total, unit=unit, unit_scale=unit == "B", desc=title, initial=before, disable=None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, count: int) -> None:
        """Count finished items. A negative count stands for items that have to be done again."""
        with self.lock:
            self.done += count
            self.bar.update(count)
            if self.bar.disable and time.monotonic() >= self.next_line:
                self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                log.info("%s", self._line())

    def _line(self) -> str:
        form = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left"
        scaled = self.unit == "B"
        elapsed = time.monotonic() - self.start
        return tqdm.format_meter(
            self.done, self.total, elapsed, prefix=self.title, unit=self.unit, unit_scale=scaled, bar_format=form, initial=self.before
        )
