"""The parts of a service and its background tasks."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from srgan.monitoring.observer import Observer
from srgan.service import work
from srgan.service.jobs import Jobs
from srgan.service.limits import Limits
from srgan.service.measures import Measures
from srgan.service.model import ServedModel
from srgan.service.monitored import Monitored
from srgan.service.pool import Make, Pool
from srgan.service.trial import Trial
from srgan.utils.files import scratch_folder

EXPIRY_SECONDS = 30  # between two searches for old jobs


class Service:
    """The parts that the routes of the application share. `running` holds its threads and files.

    Args:
        model: the current model.
        limits: for requests.
        reload_seconds: time between two looks at the source of the model.
        observer: measures and logs the results. None does not.
        trial: compares a challenger. It needs an observer.
    """

    def __init__(
        self,
        model: ServedModel,
        limits: Limits,
        reload_seconds: float = 60,
        observer: Observer | None = None,
        trial: Trial | None = None,
    ) -> None:
        self.model, self.limits, self.reload_seconds = model, limits, reload_seconds
        self.observer, self.trial = observer, trial
        self.measures = Measures()
        self.requests = Pool("upscale", self._maker("request", trial), limits.concurrency, limits.queue, limits.seconds)
        self._job_pool = Pool("job", self._maker("job"), 1, limits.jobs, limits.job_seconds)
        for name, description, pool in (("requests", "Requests", self.requests), ("jobs", "Jobs", self._job_pool)):
            self._measure(name, description, pool)
        self.measures.set_model(model.current)
        if observer:
            self.measures.observe(observer)
        if trial:
            self.measures.try_out(trial)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the threads and background tasks within the block. Jobs end with it, requests have ended before."""
        with ExitStack() as stack:
            self.home = stack.enter_context(scratch_folder(Path(tempfile.gettempdir(), "srgan-serve")))
            if self.observer:
                stack.enter_context(self.observer)  # it ends last
            stack.enter_context(self.requests)
            stack.enter_context(self._job_pool)
            self.jobs = Jobs(self._job_pool, self.limits, self.home)
            self.measures.gauge("srgan_jobs", "Jobs that wait, run or keep a result.", lambda: len(self.jobs))
            tasks = [asyncio.create_task(self._reload()), asyncio.create_task(self._expire())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await self.jobs.close()

    def _maker(self, kind: str, trial: Trial | None = None) -> Make:
        """Return a function that makes results with the current model."""
        if self.observer:
            return Monitored(kind, self.model, self.observer, trial)
        return lambda order, decoder, stop, on_tile: work.upscale(self.model.current, order, decoder, stop, on_tile)

    def _measure(self, name: str, description: str, pool: Pool) -> None:
        self.measures.gauge(f"srgan_{name}_taken", f"{description} that arrive, wait or run.", lambda: pool.taken)
        self.measures.gauge(f"srgan_{name}_running", f"{description} that run.", lambda: pool.running)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(self.reload_seconds)
            if await asyncio.to_thread(self.model.refresh):
                self.measures.reloads.inc()
                self.measures.set_model(self.model.current)
            if self.trial:
                await asyncio.to_thread(self.trial.challenger.refresh)
                await asyncio.to_thread(self.trial.refresh)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self.jobs.expire()
