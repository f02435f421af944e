"""Run the steps of a pipeline at the same time, in threads."""

import threading
from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from typing import Any, TypeVar

Item = TypeVar("Item")

POLL_SECONDS = 0.1
END = object()


def ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """Yield the items of an iterable that runs in a thread.

    Args:
        items: is read in one thread alone. Its exceptions are raised here.
        most: items that wait for the caller. The thread stops while there are as many, so memory does not grow.
    """
    waiting: Queue[tuple[Any, BaseException | None]] = Queue(most)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return waiting.put((item, error), timeout=POLL_SECONDS)
            except Full:
                continue

    def read() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(END)
        except BaseException as error:  # the caller raises it
            put(END, error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = waiting.get(timeout=POLL_SECONDS)  # not for ever: Ctrl-C has to come through on Windows
            except Empty:
                continue
            if error:
                raise error
            if item is END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
