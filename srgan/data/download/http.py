"""Files from elsewhere, whole or not at all: resumed, retried, taken from another address, and checked before anyone sees them."""

import glob
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import fsspec
import requests
import urllib3

from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import one_at_a_time, read_state, sha256, write_json
from srgan.utils.progress import Progress

CONNECT_TIMEOUT, SILENCE_TIMEOUT = 5.0, 30.0  # seconds
ATTEMPTS = 5  # at one address without a byte of progress between them
ATTEMPTS_TO_REACH = 2  # a host that cannot be reached at all
BACKOFF, LONGEST_WAIT = 1.0, 60.0  # seconds; the wait doubles from the one to the other
BLOCK = 1 << 18
RESERVE = 1e9  # bytes of the disk that a download of unknown size leaves free, at most a twentieth of the disk
TOGETHER = 4  # files at once

log = logging.getLogger(__name__)


class TransferError(Unreachable):
    """A file that none of its addresses gives."""


@dataclass(frozen=True)
class Job:
    """A file to bring here.

    Args:
        urls: addresses of the same bytes, tried in order: ``http(s)://``, ``file://``, or anything fsspec opens (``s3://``, ...).
        path: where it goes.
        size: in bytes; 0 if unknown.
        sha256: or its first digits; empty if unknown.
    """

    urls: tuple[str, ...]
    path: Path
    size: int = 0
    sha256: str = ""


class _Failure(Exception):
    """An attempt failed. `again`: how many attempts such a failure is worth; `wait`: what the server asked for, in seconds."""

    def __init__(self, reason: str, again: int = 0, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.wait = again, wait


class _Stale(_Failure):
    """What has arrived so far cannot be continued."""


def transfer(jobs: Sequence[Job], title: str) -> None:
    """Bring files here, several at once. A file that is there is left alone, unless it has a digest to show and it is another.

    An interruption keeps what has arrived beside it, as ``FILE.*.part``; the next call goes on from there.

    Raises:
        TransferError: naming the file and, for each address, what went wrong.
    """
    stop = threading.Event()
    total = sum(job.size for job in jobs) if all(job.size for job in jobs) else None
    with Progress(title, total, "B") as progress, ThreadPoolExecutor(TOGETHER) as pool:
        running = [pool.submit(_bring, job, progress, stop) for job in jobs]
        try:
            for future in running:
                future.result()
        except BaseException:
            stop.set()  # Ctrl-C, or one file failed: the others end at their next block
            pool.shutdown(cancel_futures=True)
            raise


def _bring(job: Job, progress: Progress, stop: threading.Event) -> None:
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(job.path.with_name(job.path.name + ".lock")):  # of two processes that want it, one transfers and one waits
        if job.path.is_file() and (not job.sha256 or sha256(job.path).startswith(job.sha256)):
            progress.add(job.size)
            return
        reasons = []
        for url in job.urls:
            part = _Part(job, url)
            try:
                _from_one(part, progress, stop)
            except _Failure as failure:
                log.warning("%s: %s", without_secrets(url), without_secrets(str(failure)))
                reasons.append(f"{url}: {failure}")
                if stop.is_set():
                    break
                continue
            part.path.replace(job.path)
            for left in job.path.parent.glob(f"{glob.escape(job.path.name)}.*.part*"):  # of this and of the sources before it
                left.unlink(missing_ok=True)
            return
    raise TransferError(f"failed to download {job.path.name}: {'; '.join(reasons)}")


class _Part:
    """What has arrived of a file from one address, and the server's name for that version, without which it cannot be continued."""

    def __init__(self, job: Job, url: str) -> None:
        self.job, self.url = job, url
        self.path = job.path.with_name(f"{job.path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self.note = self.path.with_name(f"{self.path.name}.json")
        note = read_state(self.note)
        self.version = str(note.get("version", "")) if isinstance(note, dict) else ""

    @property
    def have(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, version: str) -> None:
        self.version = version
        self.path.write_bytes(b"")
        write_json(self.note, {"version": version})

    def discard(self) -> None:
        self.version = ""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _from_one(part: _Part, progress: Progress, stop: threading.Event) -> None:
    """All of a file from one address. What cannot be continued later does not stay."""
    try:
        _attempts(part, progress, stop)
    except BaseException:
        if not part.version:
            part.discard()
        raise


def _attempts(part: _Part, progress: Progress, stop: threading.Event) -> None:
    """As many as make sense."""
    counted = part.have
    progress.add(counted)
    failed, most = 0, part.have
    while True:
        resumed = part.have > 0
        try:
            for count in _receive(part):
                if stop.is_set():
                    raise _Failure("interrupted")
                progress.add(count)
                counted += count
            wrong = _wrong(part)
            if not wrong:
                return
            part.discard()
            # A file put together from two answers may be the fault of the joint: it gets a second chance, in one piece.
            raise _Failure(wrong, again=ATTEMPTS if resumed else 0)
        except _Failure as failure:
            if isinstance(failure, _Stale):
                part.discard()
            progress.add(part.have - counted)
            counted = part.have
            failed = 1 if part.have > most else failed + 1
            most = max(most, part.have)
            if failed >= failure.again or stop.is_set():
                raise
            wait = max(min(BACKOFF * 2 ** (failed - 1), LONGEST_WAIT), min(failure.wait, LONGEST_WAIT))
            reason = without_secrets(str(failure))
            log.info("%s: %s; again in %.0f s, from byte %d", without_secrets(part.url), reason, wait, part.have)
            if stop.wait(wait):
                raise


def _wrong(part: _Part) -> str:
    """What is wrong with a file that has arrived, or nothing."""
    job, have = part.job, part.have
    if job.size and have != job.size:
        return f"sent {have:,} bytes, expected {job.size:,}"
    if job.sha256 and not (actual := sha256(part.path)).startswith(job.sha256):
        return f"what it sent has SHA-256 {actual[:12]}..., expected {job.sha256[:12]}..."
    return ""


def _receive(part: _Part) -> Iterator[int]:
    """One attempt: write what comes, yield the size of each block (negative: to be had again)."""
    if part.job.size and part.have == part.job.size:
        return  # all of it arrived, and whoever fetched it was killed before it could say so
    if not part.version:
        part.discard()
    start = part.have
    opener = _open_http if part.url.lower().startswith(("http://", "https://")) else _open_other
    with opener(part.url, start, part.version) as (blocks, first, total, version):
        if part.job.size and total and total != part.job.size:
            raise _Failure(f"offers {total:,} bytes, expected {part.job.size:,}")
        known = total or part.job.size
        if known and known - first > (free := shutil.disk_usage(part.path.parent).free):
            raise _no_room(part, f"{(known - first) / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free")
        if first == 0:
            part.begin(version)
            yield -start
        elif version and version != part.version:
            raise _Stale("goes on with another version of the file", ATTEMPTS)
        with part.path.open("ab") as file:
            for block in blocks:
                if not known and (usage := shutil.disk_usage(part.path.parent)).free < min(RESERVE, usage.total / 20):
                    raise _no_room(part, f"{file.tell() / 1e9:.1f} GB arrived, their number unknown, {usage.free / 1e9:.1f} GB free")
                file.write(block)
                yield len(block)
                if part.job.size and file.tell() > part.job.size:
                    part.discard()
                    raise _Failure(f"sends more than the expected {part.job.size:,} bytes")
            file.flush()
            os.fsync(file.fileno())
    if part.have < total:
        raise _Failure(f"broke off after {part.have:,} of {total:,} bytes", again=ATTEMPTS)


def _no_room(part: _Part, found: str) -> SrganError:
    return SrganError(f"{part.path.parent}: no room for {part.job.path.name}: {found}; make room, or name another folder with SRGAN_CACHE")


def _number(text: str) -> int:
    """A number of a header; 0 if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


class _Session(requests.Session):
    """Follows no redirect from ``https://`` to ``http://``, where anybody on the way could exchange the file."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and resp.url.lower().startswith("https:") and urljoin(resp.url, target).lower().startswith("http:"):
            raise requests.exceptions.InvalidURL("leads from https to http, which is not followed; name the new address if you trust it")
        return target


Opened = tuple[Iterator[bytes], int, int, str]  # blocks; first byte; size of the whole, or 0; version, or nothing


@contextmanager
def _open_http(url: str, start: int, version: str) -> Iterator[Opened]:
    headers = {"Accept-Encoding": "identity"}
    if start:  # RFC 9110, 13.1.5: the rest, if it is still the same file, else all of it
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        timeout = (CONNECT_TIMEOUT, SILENCE_TIMEOUT)
        with _Session() as session, session.get(url, headers=headers, stream=True, timeout=timeout) as answer:
            if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
                wait = _number(answer.headers.get("Retry-After", ""))
                raise _Failure(f"HTTP {answer.status_code} {answer.reason}", ATTEMPTS, float(wait))
            if answer.status_code == 416:  # nothing lies beyond what is here: that is all of it, or it is another file
                whole = answer.headers.get("Content-Range", "").removeprefix("bytes */")
                if whole != str(start):
                    raise _Stale(f"HTTP 416: cannot go on at byte {start:,}", ATTEMPTS)
                yield iter(()), start, start, version
                return
            total = _number(answer.headers.get("Content-Length", ""))
            first = 0
            if answer.status_code == 206:
                span, _, whole = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
                if span.split("-")[0] != str(start):
                    raise _Failure(f"answers with other bytes than asked for ({span or 'it does not say which'})")
                first, total = start, _number(whole)
            elif answer.status_code in (401, 403):
                raise _Failure(f"HTTP {answer.status_code} {answer.reason}; put user and password into ~/.netrc")
            elif answer.status_code != 200:
                raise _Failure(f"HTTP {answer.status_code} {answer.reason}")
            tag = answer.headers.get("ETag", "")
            # A weak tag stands for files that differ; where there is one, the date is no better.
            known = ("" if tag.startswith("W/") else tag) if tag else answer.headers.get("Last-Modified", "")
            yield iter(lambda: answer.raw.read1(BLOCK, decode_content=False), b""), first, total, known
    except requests.TooManyRedirects as error:
        raise _Failure("leads in a circle") from error
    except (requests.ConnectTimeout, requests.ConnectionError) as error:
        raise _Failure(f"cannot be reached ({_root(error)})", ATTEMPTS_TO_REACH) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        again = 0 if isinstance(error, ValueError) else ATTEMPTS  # a ValueError is an address that makes no sense
        raise _Failure(f"broke off ({_root(error)})" if again else str(error), again) from error


def _root(error: BaseException) -> str:
    """The innermost reason, without the object names that urllib3 puts before it."""
    if "IncompleteRead" in str(error):
        return "fewer bytes than announced"
    text = str(getattr(error.args[0] if error.args else error, "reason", error))
    return re.sub(r"^HTTPS?ConnectionPool\(.*?\): ", "", text.rsplit(">: ", 1)[-1]) or type(error).__name__


@contextmanager
def _open_other(url: str, start: int, version: str) -> Iterator[Opened]:
    with _their_fault():
        system, place = fsspec.core.url_to_fs(url)
        total, current = int(system.info(place).get("size") or 0), str(system.ukey(place))
        file = system.open(place, "rb")
    with file:
        first = start if current == version else 0

        def blocks() -> Iterator[bytes]:
            while True:
                with _their_fault():
                    block = file.read(BLOCK)
                if not block:
                    return
                yield block

        file.seek(first)
        yield blocks(), first, total, current


@contextmanager
def _their_fault() -> Iterator[None]:
    """Around calls of fsspec alone: each of its file systems has exceptions of its own."""
    try:
        yield
    except FileNotFoundError as error:
        raise _Failure("no such file") from error
    except (ImportError, ValueError) as error:  # an unknown protocol, or one whose package is not installed
        raise _Failure(str(error)) from error
    except Exception as error:
        raise _Failure(f"{type(error).__name__}: {error}", ATTEMPTS) from error
