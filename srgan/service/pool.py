"""Threads that upscale. Those who ask while all are busy and the queue is full are refused."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

from srgan.service.limits import Refused
from srgan.service.work import OUR_FAULT, Cancelled, Decoder, OnTile, Order, Result, Stop, decoders

MAX_RETRY_SECONDS = 600
Make = Callable[[Order, Decoder, Stop, OnTile], Result]

SHARE_OF_LATEST = 0.2  # in the mean time of an image

log = logging.getLogger(__name__)


class Pool:
    """Threads with a decoder each. Use as a context manager.

    Args:
        name: of the threads.
        make: makes a result in one of the threads.
        threads: number of images that are upscaled at once.
        waiting: number of images that wait.
        seconds: for one image.

    Attributes:
        taken: images that arrive, wait or are upscaled.
    """

    def __init__(self, name: str, make: Make, threads: int, waiting: int, seconds: float) -> None:
        self._make, self._threads, self._places, self._seconds = make, threads, threads + waiting, seconds
        self.taken = 0
        self._mean_seconds = 1.0
        self._executor = ThreadPoolExecutor(threads, name)
        self._decoders: SimpleQueue[Decoder] = SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> "Pool":
        for decoder in decoders(self._threads, self._seconds):
            self._decoders.put(self._stack.enter_context(decoder))
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._stack.close()

    @property
    def running(self) -> int:
        """Images that are upscaled."""
        return self._threads - self._decoders.qsize()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue. Call it in the thread of the event loop.

        Raises:
            Refused: there is none.
        """
        if self.taken >= self._places:
            seconds = self.retry_seconds()
            raise Refused(429, f"{self.taken} images wait or are upscaled. Try again in {seconds} s", seconds)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    def retry_seconds(self) -> int:
        """Return the expected time until a place is free, in whole seconds."""
        return min(max(math.ceil(self._mean_seconds * self.taken / self._threads / 2), 1), MAX_RETRY_SECONDS)

    async def upscale(self, order: Order, stop: Stop, on_tile: OnTile = lambda done, total: None) -> Result:
        """Upscale an image in a thread. The caller holds a place.

        Raises:
            Refused, Cancelled: see `srgan.service.work.upscale`.
        """
        try:
            return await asyncio.wrap_future(self._executor.submit(self._upscale, order, stop, on_tile))
        except (Refused, Cancelled):
            raise
        except Exception as error:  # any image may raise anything
            log.exception("an image failed")
            raise Refused(500, OUR_FAULT) from error

    def _upscale(self, order: Order, stop: Stop, on_tile: OnTile) -> Result:
        decoder = self._decoders.get()  # there is one for each thread
        began = time.monotonic()
        try:
            return self._make(order, decoder, stop, on_tile)
        finally:
            self._mean_seconds += SHARE_OF_LATEST * (time.monotonic() - began - self._mean_seconds)
            self._decoders.put(decoder)
