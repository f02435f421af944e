"""Jobs: large images, whose results are fetched later. They end with the service."""

import asyncio
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from srgan.service.limits import KEEP_SECONDS, Limits, Refused
from srgan.service.pool import Pool
from srgan.service.work import Cancelled, Order, Result, Stop

State = Literal["waiting", "running", "done", "failed"]


@dataclass
class Job:
    """An image and the state of its work.

    Attributes:
        id: which only the client knows.
        folder: of its files.
        state: of the work.
        tiles: that are finished, and their number.
        refused: why it failed.
        result: of a job that is done.
        ended: value of `time.monotonic`.
    """

    id: str
    folder: Path
    stop: Stop
    state: State = "waiting"
    tiles: tuple[int, int] = (0, 0)
    refused: Refused | None = None
    result: Result | None = None
    ended: float | None = None
    task: asyncio.Task | None = field(default=None, repr=False)

    def on_tile(self, done: int, total: int) -> None:
        """Note the progress."""
        self.state, self.tiles = "running", (done, total)


class Jobs:
    """The jobs of a service. All methods are called in the thread of the event loop.

    Args:
        pool: does the work.
        limits: of the service.
        home: folder for the files.
    """

    def __init__(self, pool: Pool, limits: Limits, home: Path) -> None:
        self._pool, self._limits, self._home = pool, limits, home
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def create(self) -> Job:
        """Return a new job without an image.

        Raises:
            Refused: there are too many.
        """
        if len(self._jobs) >= self._limits.jobs:
            seconds = self._pool.retry_seconds()
            sentence = f"{len(self._jobs)} jobs wait, run or keep a result. Delete a finished one, or try again in {seconds} s"
            raise Refused(429, sentence, seconds)
        identity = secrets.token_urlsafe(16)
        job = Job(identity, self._home / identity, Stop(self._limits.job_seconds))
        job.folder.mkdir()
        self._jobs[identity] = job
        return job

    def start(self, job: Job, order: Order) -> None:
        """Put a job in the queue."""
        job.task = asyncio.create_task(self._run(job, order))

    async def _run(self, job: Job, order: Order) -> None:
        try:
            with self._pool.place():
                job.result = await self._pool.upscale(order, job.stop, job.on_tile)
            job.state = "done"
        except Refused as error:
            job.state, job.refused = "failed", error
        except Cancelled:
            job.state = "failed"
        order.source.unlink(missing_ok=True)
        job.ended = time.monotonic()
        if job.id not in self._jobs:  # it was deleted
            self._forget(job)

    def find(self, identity: str) -> Job:
        """Return a job.

        Raises:
            Refused: there is none.
        """
        self.expire()
        if identity not in self._jobs:
            raise Refused(404, f"there is no such job. It was deleted, or ended more than {KEEP_SECONDS // 60} minutes ago")
        return self._jobs[identity]

    def ahead_of(self, job: Job) -> int:
        """Return the number of unfinished jobs before a job."""
        unfinished = [one for one in self._jobs.values() if one.ended is None]
        return unfinished.index(job) if job in unfinished else 0

    def delete(self, job: Job) -> None:
        """Remove a job with its files. If it runs, it ends at the next tile."""
        job.stop.cancel()
        if job.ended is None and job.task:
            self._jobs.pop(job.id, None)  # `_run` removes the files
        else:
            self._forget(job)

    def expire(self) -> None:
        """Remove the jobs that ended long ago."""
        now = time.monotonic()
        for job in [one for one in self._jobs.values() if one.ended is not None and now - one.ended > KEEP_SECONDS]:
            self._forget(job)

    async def close(self) -> None:
        """End all jobs."""
        tasks = [job.task for job in self._jobs.values() if job.task and job.ended is None]
        for job in list(self._jobs.values()):
            job.stop.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
