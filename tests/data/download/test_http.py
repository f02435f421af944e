"""Transfers from a real server on loopback that does everything wrong that servers do."""

import errno
import fcntl
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from srgan.data.download import http as module
from srgan.data.download.catalog import File
from srgan.data.download.http import TransferError, transfer
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.helpers.commands import environment, run
from tests.helpers.project import ROOT

CONTENT = os.urandom(3_000_000)


class Faulty(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT. The first part of the path says what goes wrong, and for how many requests: ``/drop-2/file``."""

    protocol_version = "HTTP/1.1"
    requests: ClassVar[list[tuple[str, dict[str, str]]]] = []
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fault, _, times = self.path.split("/")[1].partition("-")
        with self.lock:
            before = sum(path == self.path for path, _ in self.requests)
            self.requests.append((self.path, dict(self.headers)))
        if times and before >= int(times):
            fault = "none"
        self.close_connection = True
        getattr(self, f"serve_{fault}")()

    def answer(self, body: bytes = CONTENT, announced: int | None = None, tag: str = '"v1"', ranges: bool = True, sent: int | None = None):
        first = 0
        wanted = self.headers.get("Range", "")
        if ranges and wanted and self.headers.get("If-Range") == tag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if first >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if tag:
            self.send_header("ETag", tag)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str((announced or len(body)) - first))
        self.end_headers()
        self.wfile.write(body[first : sent or len(body)])

    def serve_none(self) -> None:
        self.answer()

    def serve_drop(self) -> None:
        self.answer(sent=1_000_000 + 500_000 * len(self.requests))

    def serve_short(self) -> None:  # announces more than there is
        self.answer(announced=len(CONTENT) + 1000)

    def serve_long(self) -> None:  # announces less than there is
        self.answer(announced=len(CONTENT) - 1000)

    def serve_norange(self) -> None:
        self.answer(ranges=False, sent=1_000_000 if len(self.requests) < 2 else None)

    def serve_wrong(self) -> None:
        self.answer(body=CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))

    def serve_stuck(self) -> None:  # breaks off, now later, now earlier, and ignores Range
        self.answer(ranges=False, sent=(700_000, 300_000)[len(self.requests) % 2])

    def serve_changed(self) -> None:  # breaks off; at the next request the file is another
        new = len(self.requests) > 1
        self.answer(tag='"new"' if new else '"old"', body=CONTENT if new else bytes(len(CONTENT)), sent=None if new else 1_000_000)

    def serve_untagged(self) -> None:  # breaks off; at the next request the file is another, and nothing says so
        new = len(self.requests) > 1
        self.answer(tag="", body=CONTENT if new else bytes(len(CONTENT)), sent=None if new else 1_000_000)

    def serve_shifted(self) -> None:  # answers a range with another one
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - 5))
        self.end_headers()
        self.wfile.write(CONTENT[5:])

    def serve_missing(self) -> None:
        self.send_error(404)

    def serve_busy(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def serve_slow(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        for start in range(0, len(CONTENT), 100_000):
            self.wfile.write(CONTENT[start : start + 100_000])
            time.sleep(0.06)

    def serve_unknown(self) -> None:  # says neither how long it is nor which version
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def serve_odd(self) -> None:  # digits, but no numbers
        self.send_response(503 if len(self.requests) == 1 else 200)
        self.send_header("Retry-After", "\xb2")
        self.send_header("Content-Length", "\xb2" if len(self.requests) == 1 else "9" * 5000)
        self.end_headers()
        self.wfile.write(CONTENT)

    def serve_silent(self) -> None:
        time.sleep(1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Faulty, "requests", [])
    monkeypatch.setattr(module, "MIN_WAIT", 0.01)
    monkeypatch.setattr(module, "SILENCE_TIMEOUT", 0.4)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as running:
        running.handle_error = lambda *_: None
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def digest(tmp_path):
    (tmp_path / "content").write_bytes(CONTENT)
    return sha256(tmp_path / "content")


def fetched(url: str | tuple[str, ...], tmp_path: Path, digest: str = "", size: int = 0) -> bytes:
    path = tmp_path / "out" / "file"
    transfer({path: File((url,) if isinstance(url, str) else url, size, digest)}, "test")
    assert sorted(left.name for left in path.parent.iterdir()) == ["file", "file.lock"]
    return path.read_bytes()


def test_a_broken_transfer_goes_on_where_it_broke_off(server, tmp_path, digest):
    assert fetched(f"{server}/drop-3/x", tmp_path, digest) == CONTENT
    ranges = [headers.get("Range") for _, headers in Faulty.requests]
    assert ranges[0] is None
    assert ranges[1] == "bytes=1500000-"
    assert Faulty.requests[1][1]["If-Range"] == '"v1"'


def test_what_arrived_before_an_interruption_is_not_fetched_again(server, tmp_path, digest, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(TransferError, match=r"drop-1/x: connection broken \(IncompleteRead"):
        fetched(f"{server}/drop-1/x", tmp_path, digest)
    assert next((tmp_path / "out").glob("file.*.part")).stat().st_size == 1_500_000
    assert fetched(f"{server}/drop-1/x", tmp_path, digest) == CONTENT
    assert Faulty.requests[1][1]["Range"] == "bytes=1500000-"


@pytest.mark.parametrize("fault", ["norange", "untagged", "changed"])
def test_a_file_that_cannot_be_continued_starts_anew(server, tmp_path, fault):
    """No digest is known here: only the server's own word keeps two versions from being mixed."""
    assert fetched(f"{server}/{fault}/x", tmp_path) == CONTENT
    assert len(Faulty.requests) == 2


def test_a_change_at_the_server_is_noticed_between_two_runs(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(TransferError):
        fetched(f"{server}/changed/x", tmp_path)
    assert fetched(f"{server}/changed/x", tmp_path) == CONTENT


def test_wrong_bytes_are_never_seen_under_the_final_name(server, tmp_path, digest):
    with pytest.raises(
        TransferError, match=rf"{server}/wrong/x: received 3,000,000 bytes with SHA-256 .*, expected 3,000,000 with {digest[:12]}"
    ):
        fetched(f"{server}/wrong/x", tmp_path, digest)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file.lock"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "offers 3,001,000 bytes, expected 3,000,000"),
        ("long", "offers 2,999,000 bytes, expected 3,000,000"),
        ("missing", "HTTP 404"),
        ("busy", "HTTP 503"),
        ("shifted", "another range than requested"),
        ("silent", "timed out"),
    ],
)
def test_each_source_that_fails_is_told_and_the_next_one_is_taken(server, tmp_path, digest, caplog, fault, reason):
    both = (f"{server}/{fault}/x", f"{server}/none/x")
    assert fetched(both, tmp_path, digest, len(CONTENT)) == CONTENT
    told = next(record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert f"{fault}/x" in told
    assert reason in told


def test_a_length_that_is_too_small_is_noticed_by_the_digest(server, tmp_path, digest):
    with pytest.raises(TransferError, match="SHA-256"):
        fetched(f"{server}/long/x", tmp_path, digest)


def test_a_length_that_is_too_large_is_seen_through(server, tmp_path, digest):
    """The rest that never comes is asked for, and the server admits that there is none."""
    assert fetched(f"{server}/short/x", tmp_path, digest) == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path, digest):
    assert fetched(f"{server}/busy-3/x", tmp_path, digest) == CONTENT
    assert len(Faulty.requests) == 4


def test_a_host_that_is_not_there_is_told_with_all_others(server, tmp_path):
    with pytest.raises(TransferError, match=r"failed to download file: http://127\.0\.0\.1:9/x: cannot be reached .*; http.*404"):
        fetched(("http://127.0.0.1:9/x", f"{server}/missing/x"), tmp_path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("file:///no/such/file", "no such file"), ("nonsense://host/x", "rotocol"), ("http://", "nvalid|cannot be reached")],
)
def test_an_address_that_leads_nowhere_is_told(tmp_path, monkeypatch, url, reason):
    monkeypatch.setattr(module, "MIN_WAIT", 0.01)
    with pytest.raises(TransferError, match=reason):
        fetched(url, tmp_path)


def test_other_protocols_go_through_fsspec(tmp_path, digest):
    import fsspec

    fsspec.filesystem("memory").pipe("/bucket/x", CONTENT)
    assert fetched("memory://bucket/x", tmp_path, digest) == CONTENT
    shutil.rmtree(tmp_path / "out")
    assert fetched((tmp_path / "content").as_uri(), tmp_path, digest) == CONTENT


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_ends_no_transfer(tmp_path, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    (tmp_path / "source").write_bytes(b"content")
    transfer({tmp_path / "target": File(((tmp_path / "source").as_uri(),))}, "t")
    assert (tmp_path / "target").read_bytes() == b"content"


def test_files_come_several_at_once(server, tmp_path):
    files = {tmp_path / str(number): File((f"{server}/slow/{number}",)) for number in range(4)}
    start = time.monotonic()
    transfer(files, "test")
    assert time.monotonic() - start < 3 * 30 * 0.06  # one after the other: 4 * 30 * 0.06 seconds
    assert all(path.read_bytes() == CONTENT for path in files)


def test_a_full_disk_is_said_at_once_and_costs_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1_000_000))
    with pytest.raises(SrganError, match=r"0\.0 GB needed, 0\.0 GB free. Free some space, or set SRGAN_CACHE to another folder"):
        fetched(f"{server}/none/x", tmp_path)


def test_a_file_of_unknown_size_stops_before_the_disk_is_full_and_leaves_nothing(server, tmp_path, digest, monkeypatch):
    free = iter(range(2_000_000_000, 0, -300_000_000))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10, next(free)))
    with pytest.raises(SrganError, match=r"no room: 1\.0 GB needed, 0\.8 GB free. Free some space, or set"):
        fetched(f"{server}/unknown/x", tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file.lock"]
    monkeypatch.undo()
    assert fetched(f"{server}/unknown/x", tmp_path, digest) == CONTENT


def test_a_part_that_cannot_be_continued_does_not_stay(server, tmp_path):
    with pytest.raises(TransferError):
        fetched(f"{server}/untagged-1/x", tmp_path, "0" * 64)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file.lock"]


def test_digits_that_are_no_numbers_are_passed_over(server, tmp_path, digest):
    assert fetched(f"{server}/odd/x", tmp_path, digest) == CONTENT
    assert len(Faulty.requests) == 2


def test_a_disk_that_fills_up_keeps_what_arrived(server, tmp_path, digest, monkeypatch):
    real = module._receive

    def filling(*given):
        for number, count in enumerate(real(*given)):
            if number == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield count

    monkeypatch.setattr(module, "_receive", filling)
    with pytest.raises(OSError, match="No space"):
        fetched(f"{server}/none/x", tmp_path, digest)
    monkeypatch.setattr(module, "_receive", real)
    assert fetched(f"{server}/none/x", tmp_path, digest) == CONTENT
    assert "Range" in Faulty.requests[-1][1]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(signum, marks=pytest.mark.slow) for signum in (signal.SIGTERM, signal.SIGINT))]
)
def test_a_killed_transfer_goes_on_in_the_next_process(server, tmp_path, digest, number):
    path = tmp_path / "out" / "file"
    code = f"""
import sys
from pathlib import Path
from srgan.data.download.catalog import File
from srgan.data.download.http import transfer
transfer({{Path({str(path)!r}): File(({f"{server}/slow-1/x"!r},), 0, {digest!r})}}, "test")
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment(), stderr=subprocess.PIPE)
    end = time.monotonic() + 30
    while not [part for part in path.parent.glob("file.*.part") if part.stat().st_size >= 600_000]:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=20)
    run(sys.executable, "-c", code, cwd=ROOT)
    assert path.read_bytes() == CONTENT
    assert int(Faulty.requests[-1][1]["Range"].removeprefix("bytes=").removesuffix("-")) >= 600_000


def test_a_file_that_is_there_is_not_fetched_again_unless_it_is_another(server, tmp_path, digest):
    path = tmp_path / "out" / "file"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetched(f"{server}/none/x", tmp_path, digest) == CONTENT
    assert Faulty.requests == []
    path.write_bytes(b"something else")
    assert fetched(f"{server}/none/x", tmp_path, digest) == CONTENT


def test_a_log_gets_plain_lines_with_rate_and_time_left(monkeypatch, caplog):
    from srgan.utils import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO")
    with progress.Progress("div2k", 3_000_000, "B") as counted:
        time.sleep(0.02)
        counted.add(1_000_000)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("div2k: 1.00M of 3.00M B, ")
    assert "B/s" in line
    assert line.endswith("left")


def test_a_broken_note_of_a_part_is_no_obstacle(server, tmp_path, digest):
    url = f"{server}/none/x"
    (tmp_path / "out").mkdir()
    part = module._Part(tmp_path / "out/file", url)
    part.path.write_bytes(b"x" * 100)
    part.note.write_bytes(b"\xff\0\n")
    assert fetched(url, tmp_path, digest) == CONTENT


def test_a_file_that_is_complete_but_for_its_name_is_not_fetched_again(server, tmp_path, digest):
    """Its process was killed while it computed the digest: the server has nothing more to send, and says 416."""
    for size in (0, len(CONTENT)):
        url, path = f"{server}/none/{size}", tmp_path / f"out{size}/file"
        path.parent.mkdir()
        part = module._Part(path, url)
        part.note.write_text('"v1"')
        part.path.write_bytes(CONTENT)
        transfer({path: File((url,), size, digest)}, "test")
        assert path.read_bytes() == CONTENT
    assert {headers["Range"] for _, headers in Faulty.requests} == {f"bytes={len(CONTENT)}-"}


def test_a_part_longer_than_the_file_starts_anew(server, tmp_path, digest):
    url = f"{server}/none/x"
    (tmp_path / "out").mkdir()
    part = module._Part(tmp_path / "out/file", url)
    part.note.write_text('"v1"')
    part.path.write_bytes(CONTENT + b"more")
    assert fetched(url, tmp_path, digest) == CONTENT


def test_a_server_that_never_gets_further_is_given_up(server, tmp_path):
    with pytest.raises(TransferError, match="connection broken"):
        fetched(f"{server}/stuck/x", tmp_path)
    assert len(Faulty.requests) <= 2 * module.ATTEMPTS


def test_failing_over_costs_the_first_source_nothing(server, tmp_path, digest, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    both = (f"{server}/drop-1/x", f"{server}/missing/x")
    with pytest.raises(TransferError, match="404"):
        fetched(both, tmp_path, digest)
    assert fetched(both, tmp_path, digest) == CONTENT
    assert Faulty.requests[-1][1]["Range"] == "bytes=1500000-"
