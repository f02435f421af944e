"""Requests to stop: SIGTERM and Ctrl-C end a training after the current step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C arrived. The checkpoint is written."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Record SIGTERM and SIGINT within the block instead of ending the process.

    Yields:
        A function that returns the number of the signal that arrived, or 0.
    """
    seen = 0

    def note(signum: int, _: object) -> None:
        nonlocal seen
        seen = signum

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield lambda: seen
        return
    former = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: seen
    finally:
        for number, handler in former.items():
            # A flow sends SIGTERM to the whole process group. `dvc` then sends a second one, which must not end the cleanup.
            signal.signal(number, signal.SIG_IGN if number == seen == signal.SIGTERM else handler)
