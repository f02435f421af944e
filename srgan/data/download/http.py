"""Download files: resumed, retried, verified and atomic."""

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import fsspec
import requests

from srgan.data.download.catalog import File
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.file_systems import CHECK_KEYS, is_denied
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


class _Failure(SrganError):
    """A failed attempt, with the number of attempts it is worth and the wait in seconds that the server asks for."""

    def __init__(self, reason: str, attempts: int = 0, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.attempts, self.wait = attempts, wait


def transfer(files: Mapping[Path, File], title: str) -> None:
    """Download files in parallel to new paths. An existing file is kept unless its SHA-256 differs.

    An interruption keeps the received bytes as ``FILE.*.part``. The next call resumes there.

    Raises:
        TransferError: a file failed at every address. The message has the reason for each.
        SrganError: the disk is full.
    """
    if not files:
        return
    stop, sizes = threading.Event(), [file.size for file in files.values()]
    with Progress(title, sum(sizes) if all(sizes) else None, "B") as progress, ThreadPoolExecutor(PARALLEL) as pool:
        try:
            list(pool.map(lambda path: _transfer_one(path, files[path], progress, stop), files))
        finally:  # after Ctrl-C or a failed file, the other downloads end at their next block
            stop.set()
            pool.shutdown(cancel_futures=True)


def _transfer_one(path: Path, file: File, progress: Progress, stop: threading.Event) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path.with_name(path.name + ".lock")):  # a second process waits and finds the file
        if path.is_file() and file.matches(path):
            progress.add(file.size)
            return
        reasons = []
        for url in file.urls:
            part = _Part(path, url)
            try:
                _retry(part, file, progress, stop)
                part.path.replace(path)
                for address in file.urls:
                    _Part(path, address).discard()
                return
            except _Failure as failure:
                reasons.append(without_secrets(f"{url}: {failure}"))
                log.warning("%s", reasons[-1])
            finally:
                if not part.resume()[1]:
                    part.discard()
    raise TransferError(f"failed to download {path.name}: {'; '.join(reasons)}")


class _Part:
    """Received bytes of a file from one address. A note has the file's version at the server, which resuming needs."""

    def __init__(self, path: Path, url: str) -> None:
        self.url = url
        self.path = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self.note = self.path.with_suffix(".part.version")

    def resume(self) -> tuple[int, str]:
        """Return the number of received bytes and the version, 0 and an empty text if they are of no use."""
        version = self.note.read_text("ascii", "replace") if self.note.exists() else ""
        usable = version.isascii() and version.isprintable() and self.path.exists()  # a damaged note must not enter a header
        return (self.path.stat().st_size, version) if version and usable else (0, "")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _retry(part: _Part, file: File, progress: Progress, stop: threading.Event) -> None:
    """Download a file from one address. Progress resets the count of failures."""
    failures = furthest = reported = 0
    while True:
        try:
            for size in _receive(part, file):
                progress.add(size - reported)
                reported = size
                if stop.is_set():
                    raise TransferError("interrupted")
            return
        except _Failure as failure:
            failures = 1 if reported > furthest else failures + 1
            furthest = max(furthest, reported)
            if failures >= failure.attempts:
                progress.add(-reported)
                raise
            wait = min(max(MIN_WAIT * 2 ** (failures - 1), failure.wait), MAX_WAIT)
            log.info("%s: %s. Retrying in %.0f s", without_secrets(part.url), failure, wait)
            stop.wait(wait)


def _receive(part: _Part, file: File) -> Iterator[int]:
    """Make one attempt and verify the file. Yield the received bytes after each block."""
    size, version = part.resume()
    resumed, total = size > 0, file.size
    yield size
    with closing(_request(part.url, size, version)) as answer:
        size, offered, version = next(answer)
        if total and offered not in (0, total):
            raise _Failure(f"offers {offered:,} bytes, expected {total:,}")
        total = total or offered
        with part.path.open("ab" if size else "wb") as out:
            if not size:
                write_text(part.note, version)
            for block in answer:
                usage = shutil.disk_usage(part.path.parent)
                needed = total - size if total else min(RESERVE, usage.total / 20)
                if usage.free < needed:
                    found = f"{needed / 1e9:.1f} GB needed, {usage.free / 1e9:.1f} GB free"
                    raise SrganError(f"{part.path}: no room: {found}. Free some space, or set SRGAN_CACHE to another folder")
                out.write(block)
                out.flush()
                size += len(block)
                yield size
                if size > total > 0:
                    break
            os.fsync(out.fileno())
    if size < total:
        raise _Failure(f"connection broken after {size:,} of {total:,} bytes", ATTEMPTS)
    checksum = sha256(part.path) if file.sha256 else ""
    if total in (0, size) and checksum.startswith(file.sha256):
        return
    part.discard()
    problem = f"received {size:,} bytes with SHA-256 {checksum[:12]}..., expected {total:,} with {file.sha256[:12]}..."
    raise _Failure(problem, ATTEMPTS if resumed else 0)  # a resumed file may mix two versions: download it in one piece


def _request(url: str, start: int, version: str) -> Generator[Any, None, None]:
    """Yield (first byte, total bytes or 0, version or ""), then blocks. Every error of the network is a `_Failure`."""
    try:
        if url.lower().startswith(("http://", "https://")):
            yield from _request_http(url, start, version)
            return
        system, path = fsspec.core.url_to_fs(url)
        current = str(system.ukey(path))
        start = start if current == version else 0
        with system.open(path, "rb") as file:
            yield start, int(system.info(path).get("size") or 0), current
            file.seek(start)
            yield from iter(partial(file.read, BLOCK), b"")
    except _Failure:
        raise
    except FileNotFoundError as error:
        raise _Failure("no such file") from error
    except requests.ConnectionError as error:
        raise _Failure(f"cannot be reached ({_cause(error)})", CONNECT_ATTEMPTS) from error
    except (ImportError, ValueError, requests.TooManyRedirects) as error:  # such as an invalid address or an unknown protocol
        raise _Failure(str(error)) from error
    except Exception as error:  # file systems of fsspec raise their own
        if is_denied(error):
            raise _Failure(f"access denied ({error}). {CHECK_KEYS}") from error
        raise _Failure(f"connection broken ({_cause(error)})", ATTEMPTS) from error


def _request_http(url: str, start: int, version: str) -> Iterator[Any]:
    # RFC 9110, section 13.1.5: the server sends the range if the version still matches, and the whole file otherwise.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-", "If-Range": version} if start else {})
    timeout = (CONNECT_TIMEOUT, SILENCE_TIMEOUT)
    with requests.get(url, headers=headers, stream=True, timeout=timeout, hooks={"response": _refuse_downgrade}) as response:
        status, span = response.status_code, response.headers.get("Content-Range", "").removeprefix("bytes ")
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified", "")
        tag = "" if tag.startswith("W/") else tag  # files with one weak tag may differ
        if status == 416 and span == f"*/{start}":  # all bytes are here
            yield start, start, version
        elif start and (status == 416 or (status == 206 and tag not in ("", version))):  # of another version
            yield from _request_http(url, 0, "")
        elif status == 200 or (status == 206 and span.startswith(f"{start}-")):
            start = start if status == 206 else 0
            length = response.raw.length_remaining
            yield start, start + length if length else 0, tag
            yield from iter(partial(response.raw.read1, BLOCK, decode_content=False), b"")
        else:
            login = ". Put user and password into ~/.netrc"
            advice = {206: f": another range than requested ({span})", 401: login, 403: login}.get(status, "")
            attempts = ATTEMPTS if status in (408, 425, 429) or status >= 500 else 0
            wait = response.headers.get("Retry-After", "")
            wait_seconds = float(wait) if wait.isascii() and wait.isdecimal() else 0.0
            raise _Failure(f"HTTP {status} {response.reason}{advice}", attempts, wait_seconds)


def _refuse_downgrade(response: requests.Response, **_: Any) -> None:
    """Refuse a redirect from ``https://`` to ``http://``, where an attacker on the network can replace the file."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and response.url.startswith("https:") and target.lower().startswith("http:"):
        raise ValueError("redirects from https to http, which is refused. Use the new address if you trust it")


def _cause(error: BaseException) -> str:
    """Return the first error of a chain. The later ones put names of objects before it."""
    while earlier := error.__cause__ or error.__context__:
        error = earlier
    return str(error) or type(error).__name__
