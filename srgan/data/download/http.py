"""Download files: resumed, retried, verified and atomic."""

import glob
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import fsspec
import requests

from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import one_at_a_time, sha256, write_text
from srgan.utils.progress import Progress

CONNECT_TIMEOUT, SILENCE_TIMEOUT = 5.0, 30.0  # seconds
ATTEMPTS, CONNECT_ATTEMPTS = 5, 2  # without progress between them, and to reach a host
MIN_WAIT, MAX_WAIT = 1.0, 60.0  # seconds between two attempts. The wait doubles
BLOCK = 1 << 18  # bytes
RESERVE = 1e9  # bytes that a download of unknown size leaves free, at most 5 % of the disk
PARALLEL = 4  # files

log = logging.getLogger(__name__)


class TransferError(Unreachable):
    """A download that failed at every address."""


@dataclass(frozen=True)
class Job:
    """A file to download."""

    urls: tuple[str, ...]  # of the same bytes, tried in order: ``http(s)://`` or any protocol of fsspec, such as ``s3://``
    path: Path  # destination
    size: int = 0  # bytes, 0 if unknown
    sha256: str = ""  # or its first digits, empty if unknown


class _Failure(Exception):
    """A failed attempt, with the number of attempts it is worth and the wait in seconds that the server asks for."""

    def __init__(self, reason: str, attempts: int = 0, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.attempts, self.wait = attempts, wait


def transfer(jobs: Sequence[Job], title: str) -> None:
    """Download files in parallel. An existing file is kept unless its SHA-256 differs.

    An interruption keeps the received bytes as ``FILE.*.part``. The next call resumes there.

    Raises:
        TransferError: a file failed at every address. The message has the reason for each.
        SrganError: the disk is full.
    """
    if not jobs:
        return
    stop = threading.Event()
    total = sum(job.size for job in jobs) if all(job.size for job in jobs) else None
    with Progress(title, total, "B") as progress, ThreadPoolExecutor(PARALLEL) as pool:
        try:
            list(pool.map(lambda job: _transfer_one(job, progress, stop), jobs))
        finally:  # after Ctrl-C or a failed file, the other downloads end at their next block
            stop.set()
            pool.shutdown(cancel_futures=True)


def _transfer_one(job: Job, progress: Progress, stop: threading.Event) -> None:
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(job.path.with_name(job.path.name + ".lock")):  # a second process waits and finds the file
        if job.path.is_file() and (not job.sha256 or sha256(job.path).startswith(job.sha256)):
            progress.add(job.size)
            return
        reasons = []
        for url in job.urls:
            part = _Part(job, url)
            try:
                _retry(part, progress, stop)
                part.path.replace(job.path)
                for left in job.path.parent.glob(f"{glob.escape(job.path.name)}.*.part*"):
                    left.unlink(missing_ok=True)
                return
            except _Failure as failure:
                log.warning("%s: %s", without_secrets(url), without_secrets(str(failure)))
                reasons.append(f"{url}: {failure}")
                if stop.is_set():
                    break
            finally:
                if not part.version:
                    part.discard()
    raise TransferError(f"failed to download {job.path.name}: {'; '.join(reasons)}")


class _Part:
    """Received bytes of a file from one address, with the file's version at the server. Resuming needs the version."""

    def __init__(self, job: Job, url: str) -> None:
        self.job, self.url = job, url
        self.path = job.path.with_name(f"{job.path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self.note = self.path.with_name(f"{self.path.name}.version")
        version = self.note.read_text(encoding="ascii", errors="replace") if self.note.exists() else ""
        self.version = version if version.isascii() and version.isprintable() else ""  # a damaged note must not enter a header

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, version: str) -> None:
        self.version = version
        self.path.write_bytes(b"")
        write_text(self.note, version)

    def discard(self) -> None:
        self.version = ""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _retry(part: _Part, progress: Progress, stop: threading.Event) -> None:
    """Download a file from one address. Progress resets the count of failures."""
    failures, furthest, reported = 0, part.size, 0
    while True:
        try:
            for size in _receive(part):
                progress.add(size - reported)
                reported = size
                if stop.is_set():
                    raise _Failure("interrupted")
            return
        except _Failure as failure:
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= failure.attempts:
                progress.add(-reported)
                raise
            wait = min(max(MIN_WAIT * 2 ** (failures - 1), failure.wait), MAX_WAIT)
            reason = without_secrets(str(failure))
            log.info("%s: %s. Retrying in %.0f s from byte %d", without_secrets(part.url), reason, wait, part.size)
            if stop.wait(wait):
                raise


def _receive(part: _Part) -> Iterator[int]:
    """Make one attempt and verify the file. Yield the received bytes after each block."""
    job, resumed = part.job, part.size > 0
    if not part.version:
        part.discard()
    yield part.size
    if not job.size or part.size != job.size:  # else a former process was killed before the rename
        yield from _append(part)
    checksum = sha256(part.path) if job.sha256 else ""
    if job.size and part.size != job.size:
        problem = f"received {part.size:,} bytes, expected {job.size:,}"
    elif not checksum.startswith(job.sha256):
        problem = f"received a file with SHA-256 {checksum[:12]}..., expected {job.sha256[:12]}..."
    else:
        return
    part.discard()
    raise _Failure(problem, ATTEMPTS if resumed else 0)  # a resumed file may mix two versions: download it in one piece


def _append(part: _Part) -> Iterator[int]:
    size = part.job.size
    request = _request_http if part.url.lower().startswith(("http://", "https://")) else _request_fsspec
    with closing(request(part.url, part.size, part.version)) as answer:
        start, total, version = next(answer)
        if start is None or (start and version not in ("", part.version)):
            part.discard()
            raise _Failure("the server has another version of the file", ATTEMPTS)
        if size and total not in (0, size):
            raise _Failure(f"offers {total:,} bytes, expected {size:,}")
        known = total or size
        _require_space(part, known - start if known else None)
        if start == 0:
            part.begin(version)
        with part.path.open("ab") as file:
            for block in answer:
                if not known:
                    _require_space(part, None)
                file.write(block)
                file.flush()
                yield part.size
                if size and part.size > size:
                    part.discard()
                    raise _Failure(f"sends more than the expected {size:,} bytes")
            os.fsync(file.fileno())
    if part.size < total:
        raise _Failure(f"connection broken after {part.size:,} of {total:,} bytes", ATTEMPTS)


def _require_space(part: _Part, missing: int | None) -> None:
    """Raise an error if the disk has no room for the missing bytes or, if their number is unknown, for `RESERVE`."""
    usage, folder = shutil.disk_usage(part.path.parent), part.path.parent
    if usage.free < (min(RESERVE, usage.total / 20) if missing is None else missing):
        found = f"{part.size / 1e9:.1f} GB received, total unknown" if missing is None else f"{missing / 1e9:.1f} GB needed"
        found += f", {usage.free / 1e9:.1f} GB free"
        raise SrganError(f"{folder}: no room for {part.job.path.name}: {found}. Free some space, or set SRGAN_CACHE to another folder")


# -- protocols: each yields (first byte, total bytes or 0, version or ""), then blocks ------------------------------------------


class _Session(requests.Session):
    """Refuse redirects from ``https://`` to ``http://``, where an attacker on the network can replace the file."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and resp.url.lower().startswith("https:") and urljoin(resp.url, target).lower().startswith("http:"):
            raise requests.exceptions.InvalidURL("redirects from https to http, which is refused. Use the new address if you trust it")
        return target


def _request_http(url: str, start: int, version: str) -> Generator[Any, None, None]:
    # RFC 9110, section 13.1.5: the server sends the range if the version still matches, and the whole file otherwise.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-", "If-Range": version} if start else {})
    timeout = (CONNECT_TIMEOUT, SILENCE_TIMEOUT)
    with _translate_errors(), _Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        status, fields = response.status_code, response.headers
        span, _, total = fields.get("Content-Range", "").removeprefix("bytes ").partition("/")
        tag = fields.get("ETag") or fields.get("Last-Modified", "")
        tag = "" if tag.startswith("W/") else tag  # files with one weak tag may differ
        if status == 200:
            yield 0, _number(fields.get("Content-Length", "")), tag
        elif status == 206 and span.split("-")[0] == str(start):
            yield start, _number(total), tag
        elif status == 416:  # no bytes after `start`: the file is complete, or it is another file
            yield (start, start, version) if total == str(start) else (None, 0, "")
            return
        else:
            temporary = status in (408, 425, 429) or status >= 500
            advice = ". Put user and password into ~/.netrc" if status in (401, 403) else ""
            advice = f": another range than requested ({span or 'not stated'})" if status == 206 else advice
            wait = _number(fields.get("Retry-After", ""))
            raise _Failure(f"HTTP {status} {response.reason}{advice}", ATTEMPTS if temporary else 0, wait)
        while block := response.raw.read1(BLOCK, decode_content=False):
            yield block


def _number(text: str) -> int:
    """Return the number in a header, 0 if it is not one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _request_fsspec(url: str, start: int, version: str) -> Generator[Any, None, None]:
    with _translate_errors():
        system, path = fsspec.core.url_to_fs(url)
        current = str(system.ukey(path))
        start = start if current == version else 0
        with system.open(path, "rb") as file:
            yield start, int(system.info(path).get("size") or 0), current
            file.seek(start)
            while block := file.read(BLOCK):
                yield block


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn the exceptions of requests, urllib3 and fsspec, whose file systems raise their own, into a `_Failure`."""
    try:
        yield
    except _Failure:
        raise
    except FileNotFoundError as error:
        raise _Failure("no such file") from error
    except requests.ConnectionError as error:
        raise _Failure(f"cannot be reached ({_innermost_message(error)})", CONNECT_ATTEMPTS) from error
    except (ImportError, ValueError, requests.TooManyRedirects) as error:  # such as an invalid address or an unknown protocol
        raise _Failure(str(error)) from error
    except Exception as error:
        raise _Failure(f"connection broken ({_innermost_message(error)})", ATTEMPTS) from error


def _innermost_message(error: BaseException) -> str:
    """Return the cause without the object names that urllib3 puts before it."""
    if "IncompleteRead" in str(error):
        return "fewer bytes than announced"
    text = str(getattr(error.args[0] if error.args else error, "reason", error))
    return re.sub(r"^HTTPS?ConnectionPool\(.*?\): ", "", text.rsplit(">: ", 1)[-1]) or type(error).__name__
