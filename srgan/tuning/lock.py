"""Locks of folders that child processes hold too, so that a killed study leaves no folder with two trainings."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.2


@contextmanager
def try_lock(path: Path) -> Iterator[int | None]:
    """Yield the file descriptor of a lock, or None if another process holds it. The kernel releases it when its last holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def lock(path: Path, check: Callable[[], None]) -> Iterator[int]:
    """Wait for a lock and yield its file descriptor. `check` is called while waiting, and may raise."""
    while True:
        with try_lock(path) as descriptor:
            if descriptor is not None:
                yield descriptor
                return
        check()
        time.sleep(POLL_SECONDS)
