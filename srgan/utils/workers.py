"""Process untrusted files in several processes. A hang or a crash loses one item, and no process outlives the program.

Results have the order of the items and do not depend on the number of processes.

Example:
    with Workers(read, processes=4) as workers:
        for result in workers.map(paths):
            if isinstance(result, Lost):
                log.warning("skipped %s: %s", result.item, result.reason)
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

import cv2

MAX_SECONDS_PER_ITEM = 120
MAX_ITEMS_AHEAD = 3  # of the caller, for each process
MAX_TRIES = 2  # of an item whose process died. The system may have killed it for the memory of another process.
POLL_SECONDS = 0.5
KILL_TIMEOUT_SECONDS = 5.0  # a killed process that waits for a dead file server does not end

_starting = threading.Lock()  # a fork of another thread would inherit the other end of a new pipe

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost(Generic[Item]):
    """The result for an item that hung or crashed its process."""

    item: Item
    reason: str  # a sentence without a subject


class Mapper(Protocol):
    """An engine that applies a function to items, as `Workers` does."""

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to each item. Yield the results in the order of the items, and `Lost` as `Workers.map` does."""


Engine = Callable[[Callable[[Any], Any]], AbstractContextManager[Mapper]]  # takes the function


class Workers(Generic[Item, Result]):
    """Processes that apply a function to items. Use this as a context manager, which kills them at its end.

    An item is `Lost` if it takes more than `seconds` or more memory than is free, or if its process dies `MAX_TRIES` times.

    Args:
        function: takes an item. Item and result must support pickle. On Linux the function need not, because the processes are forks.
            OpenCV has one thread in each.
        processes: number of processes.
        seconds: time for an item. Default: `MAX_SECONDS_PER_ITEM`.
    """

    def __init__(self, function: Callable[[Item], Result], processes: int, seconds: float | None = None) -> None:
        self._workers = [_Worker(function, seconds) for _ in range(processes)]

    def __enter__(self) -> "Workers[Item, Result]":
        self._threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the processes run in parallel, and OpenCV's threads must end before this process is copied
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        cv2.setNumThreads(self._threads)

    def map(self, items: Iterable[Item]) -> Iterator[Result | Lost[Item]]:
        """Apply the function to each item, at most a few items ahead of the caller.

        Yields:
            A result for each item, in their order.

        Raises:
            Exception: an error of the function. A note holds the traceback of the process.
        """
        jobs = enumerate(items)
        done: dict[int, Result | Lost[Item]] = {}
        following = 0
        while True:
            idle = [worker for worker in self._workers if not worker.job]
            room = MAX_ITEMS_AHEAD * len(self._workers) - len(done) - (len(self._workers) - len(idle))
            for job, worker in zip(islice(jobs, max(0, min(room, len(idle)))), idle, strict=False):
                worker.give(job)
            busy = [worker for worker in self._workers if worker.job]
            if not busy and not done:
                return
            began = time.monotonic()
            ready = wait([worker.pipe for worker in busy], 0 if following in done else POLL_SECONDS)
            # The time of a stopped program (Ctrl-Z) does not count.
            passed = min(time.monotonic() - began, 2 * POLL_SECONDS)
            for worker in busy:
                assert worker.job
                number = worker.job[0]
                for answer in worker.receive() if worker.pipe in ready else worker.wait(passed):
                    done[number] = answer
            if following in done:
                yield done.pop(following)
                following += 1


class _Worker:
    """A process or its replacement, and its current item."""

    def __init__(self, function: Callable[[Any], Any], seconds: float | None) -> None:
        self._function, self._seconds = function, seconds
        self._process: Any = None
        self.job: tuple[int, Any] | None = None

    def give(self, job: tuple[int, Any]) -> None:
        self.job, self._tries = job, 0
        self._send()

    def _send(self) -> None:
        assert self.job
        self._spent = 0.0
        if not (self._process and self._process.is_alive()):
            self._stop()
            with _starting:
                self._start()
        with contextlib.suppress(OSError):  # `receive` handles a process that has just died
            self.pipe.send(self.job[1])

    def _start(self) -> None:
        # On Linux a fork is safe and has all modules imported.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._function, os.getpid()), daemon=True)
        collects = gc.isenabled()
        gc.disable()  # see `_serve`
        self._process.start()
        if collects:
            gc.enable()
        theirs.close()  # then the pipe ends with the process

    def receive(self) -> Iterator[Any]:
        """Yield the answer. There is none if the process died and another process tries again."""
        assert self.job
        try:
            good, value = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self._process.join(KILL_TIMEOUT_SECONDS)
            code = self._process.exitcode
            self._tries += 1
            if self._tries < MAX_TRIES:
                self._send()
                return
            good, value = True, Lost(self.job[1], _death(code))
        self.job = None
        if not good:
            raise value
        yield value

    def wait(self, seconds: float) -> Iterator[Any]:
        """Count time without an answer. Yield `Lost` when the limit is reached."""
        assert self.job
        self._spent += seconds
        most = self._seconds or MAX_SECONDS_PER_ITEM
        if self._spent > most:
            lost = Lost(self.job[1], f"takes more than {most:g} s")
            self.end()
            yield lost

    def end(self) -> None:
        self.job = None
        self._stop()

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.join(KILL_TIMEOUT_SECONDS)
            self.pipe.close()
            self._process = None


def _death(code: int | None) -> str:
    if code is None:
        return f"stops its process, which does not end within {KILL_TIMEOUT_SECONDS:.0f} s"
    if code == -signal.SIGKILL:
        return f"its process was killed {MAX_TRIES} times (SIGKILL), perhaps for lack of memory"
    return f"crashes the process that works on it ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


# -- in the process --------------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, function: Callable[[Any], Any], parent: int) -> None:
    if _starting.locked():  # a fork inherits the lock as its parent held it
        _starting.release()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes. The parent ends this one.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # without the parent's handler
    die_with(parent)
    # A fork inherits objects without the threads that use them. Freeing an image of libvips would wait forever for a lock.
    gc.freeze()
    gc.enable()
    cv2.setNumThreads(1)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = pickle.dumps((True, function(item)))
        except MemoryError:
            answer = pickle.dumps((True, Lost(item, "takes more memory than is free")))
        except Exception as error:
            answer = _pickled(error)
        pipe.send_bytes(answer)


def _pickled(error: Exception) -> bytes:
    error.add_note("".join(traceback.format_exception(error)))
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)  # some exceptions do not support pickle
    except Exception:
        answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer


def die_with(parent: int) -> None:
    """End this process with its parent, also after a kill and while a library holds Python's lock."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG, see prctl(2)
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # the parent has ended already
            os._exit(1)
        return
    found = multiprocessing.parent_process()

    def watch() -> None:
        if found:
            found.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
