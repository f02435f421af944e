"""Runs cases in worker processes that may crash or hang: the parent notes which case it was, and starts another worker."""

import faulthandler
import gc
import multiprocessing
import os
import time
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil

from tests.fuzz.cases import Case, Seeds, Target, Verdict, prepare_process, run

FORK = multiprocessing.get_context("fork")  # thousands of cases in minutes: a worker has everything imported
CASES_A_WORKER = 2000
WALL = 10  # the limit of a case's wall time is this times that of its processor time: the machine may be busy


def seeds_of(target: Target, folder: Path) -> Seeds:
    """What `Target.build` has written."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def build(target: Target, folder: Path) -> None:
    """Let a child build the seeds: it may start threads, after which a process must not fork."""
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    child = FORK.Process(target=_build, args=(target, folder, log))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{log.read_text(errors='replace')}\n{target.name}: the seeds cannot be built (exit {child.exitcode})")


def _build(target: Target, folder: Path, log: Path) -> None:
    with log.open("wb", buffering=0) as output:
        _redirect(output.fileno())
        os.chdir(folder)
        target.build(folder)


def _redirect(output: int) -> None:
    """Standard output and error; native libraries write to the descriptors themselves."""
    for number in (1, 2):
        os.dup2(output, number)


def case_of(target: Target, seed: int, number: int, seeds: Seeds) -> Case:
    """The case of a number: the fixed ones first, then mutations."""
    fixed = target.fixed()
    if number < len(fixed):
        name = list(fixed)[number]
        return Case(name, fixed[name]())
    return target.mutate(np.random.default_rng([seed, zlib.crc32(target.name.encode()), number]), seeds)


class _Worker:
    """A process that runs one case after the other."""

    def __init__(self, target: Target, shared: Path, seeds: Seeds, seed: int, folder: Path) -> None:
        self.log = folder.with_suffix(".log")
        self.connection, theirs = FORK.Pipe()
        arguments = (target, shared, seeds, seed, folder, self.log, self.connection, theirs)
        self.process: BaseProcess = FORK.Process(target=_work, args=arguments)
        self.process.start()
        theirs.close()
        self.done, self.number = 0, -1
        self.clock = psutil.Process(self.process.pid)

    def give(self, number: int) -> None:
        self.number, self.begun, self.used = number, time.monotonic(), self._used()
        self.connection.send(number)

    def _used(self) -> float:
        try:
            times = self.clock.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def late(self, seconds: float) -> str:
        """Which limit it has passed; empty if none."""
        if self._used() - self.used > seconds:
            return f"more than {seconds:g} s of processor time"
        return f"more than {WALL * seconds:g} s by the clock" if time.monotonic() - self.begun > WALL * seconds else ""

    def end(self) -> None:
        self.connection.send(None)
        self.process.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _work(
    target: Target, shared: Path, seeds: Seeds, seed: int, folder: Path, log: Path, parents: Connection, connection: Connection
) -> None:
    parents.close()  # so that the worker ends when the parent is gone
    with log.open("wb+", buffering=0) as output:
        _redirect(output.fileno())
        faulthandler.enable(output)
        prepare_process()
        target.setup(shared)
        while True:
            try:
                number = connection.recv()
            except EOFError:
                number = None
            if number is None:
                os._exit(0)  # threads of libraries must not delay it
            output.truncate(0)
            output.seek(0)
            connection.send(run(target, case_of(target, seed, number, seeds), folder))


def run_all(
    target: Target, shared: Path, seeds: Seeds, seed: int, numbers: range, jobs: int, scratch: Path
) -> Iterator[tuple[int, Verdict]]:
    """Run cases, `jobs` at a time; yields each with its verdict, as they end."""
    gc.freeze()
    waiting = iter(numbers)
    workers: dict[int, _Worker] = {}  # by slot

    def next_case(slot: int) -> None:
        number = next(waiting, None)
        worker = workers.get(slot)
        if worker and (number is None or worker.done >= (1 if target.fresh else CASES_A_WORKER)):
            worker.end()
            del workers[slot]
        if number is not None:
            if slot not in workers:
                workers[slot] = _Worker(target, shared, seeds, seed, scratch / f"{target.name}-{slot}")
            workers[slot].give(number)

    for slot in range(jobs):
        next_case(slot)
    while workers:
        ready = wait([worker.connection for worker in workers.values()], timeout=0.5)
        for slot, worker in list(workers.items()):
            if worker.connection in ready:
                try:
                    verdict = worker.connection.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    text = worker.log.read_text(errors="replace")[-3000:]
                    verdict = Verdict("crash", f"exit {worker.process.exitcode}\n{text}")
                    del workers[slot]
            elif late := worker.late(target.seconds):
                worker.kill()
                verdict = Verdict("hang", late)
                del workers[slot]
            else:
                continue
            worker.done += 1
            number = worker.number
            next_case(slot)
            yield number, verdict
