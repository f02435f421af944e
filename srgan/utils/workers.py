"""Processes that share the work on untrusted files: one that hangs or crashes loses its own item only, and none outlives the program.

Results come in the order of the items, so they do not depend on the number of processes.

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
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import cv2

SECONDS = 120  # that one item may take
AHEAD = 3  # items for each process that are in work, or done before an earlier one
TRIES = 2  # of an item whose process died: the system may have killed it for the memory that another one takes
TICK = 0.5  # seconds between two looks at the clock
PATIENCE = 5.0  # seconds for a killed process to end; one that waits for a dead file server does not

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost(Generic[Item]):
    """Stands for the result of an item that hung or crashed its process."""

    item: Item
    reason: str  # a sentence without its subject


class Workers(Generic[Item, Result]):
    """Processes that apply a function to items. Use as a context manager; at its end they are killed, whatever they do.

    An item is `Lost` if it takes more than `SECONDS`, if it takes more memory than is free, or if its process dies `TRIES` times.

    Args:
        function: takes an item. Item and result can be pickled; on Linux the function itself need not, as the processes are forks.
            OpenCV has one thread there.
        processes: how many work at once.
    """

    def __init__(self, function: Callable[[Item], Result], processes: int) -> None:
        self._workers = [_Worker(function) for _ in range(processes)]

    def __enter__(self) -> "Workers[Item, Result]":
        self._threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # the processes are the parallelism; and OpenCV's threads must be gone before this process is copied
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        cv2.setNumThreads(self._threads)

    def map(self, items: Iterable[Item]) -> Iterator[Result | Lost[Item]]:
        """Apply the function to each item, never more than a few ahead of the caller.

        Yields:
            A result for each item, in their order.

        Raises:
            Exception: what the function raised; the traceback from the process is a note of it.
        """
        jobs = enumerate(items)
        done: dict[int, Result | Lost[Item]] = {}
        following = 0
        while True:
            idle = [worker for worker in self._workers if not worker.job]
            room = AHEAD * len(self._workers) - len(done) - (len(self._workers) - len(idle))
            for job, worker in zip(islice(jobs, max(0, min(room, len(idle)))), idle, strict=False):
                worker.give(job)
            busy = [worker for worker in self._workers if worker.job]
            if not busy and not done:
                return
            began = time.monotonic()
            ready = wait([worker.pipe for worker in busy], 0 if following in done else TICK)
            # A program that was stopped (Ctrl-Z) takes long, but its items do not.
            passed = min(time.monotonic() - began, 2 * TICK)
            for worker in busy:
                number = worker.job[0]
                for answer in worker.receive() if worker.pipe in ready else worker.wait(passed):
                    done[number] = answer
            if following in done:
                yield done.pop(following)
                following += 1


class _Worker:
    """A process, or the one that takes its place, and the item it works on."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
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
            # Where it is safe, a copy of this process: it has everything imported.
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            self.pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._function, os.getpid()), daemon=True)
            collects = gc.isenabled()
            gc.disable()  # see `_serve`
            self._process.start()
            if collects:
                gc.enable()
            theirs.close()  # so that the pipe ends with the process
        with contextlib.suppress(OSError):  # it has just died; `receive` will see that
            self.pipe.send(self.job[1])

    def receive(self) -> Iterator[Any]:
        """The answer that is there; none if the process died and another one tries again."""
        assert self.job
        try:
            good, value = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self._process.join(PATIENCE)
            code = self._process.exitcode
            self._tries += 1
            if self._tries < TRIES:
                self._send()
                return
            good, value = True, Lost(self.job[1], _death(code))
        self.job = None
        if not good:
            raise value
        yield value

    def wait(self, seconds: float) -> Iterator[Any]:
        """Note that time has passed without an answer; the last time that it may is one."""
        assert self.job
        self._spent += seconds
        if self._spent > SECONDS:
            lost = Lost(self.job[1], f"takes more than {SECONDS} s")
            self.end()
            yield lost

    def end(self) -> None:
        self.job = None
        self._stop()

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.join(PATIENCE)
            self.pipe.close()
            self._process = None


def _death(code: int | None) -> str:
    if code is None:
        return f"stops the process that works on it, which does not end within {PATIENCE:.0f} s"
    if code == -signal.SIGKILL:
        return f"its process was killed {TRIES} times (SIGKILL), perhaps for lack of memory"
    return f"crashes the process that works on it ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


# -- in the process --------------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, function: Callable[[Any], Any], parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does at SIGTERM
    _die_with(parent)
    # A fork inherits objects, but not the threads that use them: to free an image of libvips would wait for a lock without end.
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
        pickle.loads(answer)  # not every exception survives that
    except Exception:
        answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer


def _die_with(parent: int) -> None:
    """Let this process end when its parent does, also a killed one, and also while a library holds Python's lock."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG, see prctl(2)
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # too late
            os._exit(1)
        return
    found = multiprocessing.parent_process()

    def watch() -> None:
        if found:
            found.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
