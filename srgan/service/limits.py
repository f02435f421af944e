"""Limits of a service, and the answer to a request that exceeds one."""

from dataclasses import dataclass

KEEP_SECONDS = 3600  # a finished job and its result
MAX_OUTSCALE = 16


@dataclass(frozen=True)
class Limits:
    """Limits of a service.

    Attributes:
        pixels: of an image that is answered at once.
        job_pixels: of the image of a job.
        size: bytes of a request's body.
        seconds: from the arrival of a request to its result.
        concurrency: images that are upscaled at once, besides one job.
        queue: requests that wait for their turn.
        jobs: jobs that wait, run or keep a result.
        job_seconds: for a job, after which it fails.
    """

    pixels: int = 16_000_000
    job_pixels: int = 100_000_000
    size: int = 100_000_000
    seconds: float = 60
    concurrency: int = 2
    queue: int = 16
    jobs: int = 32
    job_seconds: float = 3600


class Refused(Exception):
    """A request that gets an error.

    Args:
        status: HTTP status, 4xx or 5xx.
        sentence: the reason and what to do next. It names no path of this machine.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(status, sentence, retry_after)  # so that it supports pickle
        self.status, self.sentence, self.retry_after = status, sentence, retry_after

    def __str__(self) -> str:
        return self.sentence

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the answer."""
        retry = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return retry | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def megapixels(pixels: float) -> str:
    """Return a number of pixels for a message, such as ``16 megapixels``."""
    return f"{pixels / 1e6:,.4g} megapixels"
