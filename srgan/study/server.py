"""``srgan study open``: the page of the raters on 127.0.0.1."""

import contextlib
import json
import logging
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from srgan.study.answers import Answer, append, check_trials, log_path, read_log
from srgan.study.files import Record, Study, parse
from srgan.study.rate_page import read_picture, served_page
from srgan.utils.errors import SrganError
from srgan.utils.files import one_at_a_time

HOST = "127.0.0.1"
LOCAL_NAMES = (HOST, "localhost")  # a page of another name could read this server through a browser (DNS rebinding)
MAX_BODY = 10_000  # bytes of a request

log = logging.getLogger(__name__)


class Entry(Record):
    """A request to begin or to continue."""

    code: str


class Vote(Entry):
    """A request to store an answer."""

    answer: Answer


class StudyServer(ThreadingHTTPServer):
    """Serve a study. The answers are read from their files at each entry, so a new server continues where the last one ended.

    Args:
        folder: of the study.
        study: the study.
        port: the port, or 0 for any free one.

    Raises:
        SrganError: the port is in use.
    """

    daemon_threads = True

    def __init__(self, folder: Path, study: Study, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise SrganError(f"port {port} of {HOST}: {error.strerror}. Choose another one with --port") from error
        self.folder, self.study = folder, study
        self.page = served_page(study).encode()

        self.storing = threading.Lock()


def serve(folder: Path, study: Study, port: int, codes: list[str]) -> None:
    """Serve a study until Ctrl-C or SIGTERM. Print the address of each rater.

    Args:
        folder: of the study.
        study: the study.
        port: the port, or 0 for any free one.
        codes: the invitation codes.

    Raises:
        SrganError: the port is in use, or another server has the study.
    """
    try:
        with one_at_a_time(folder / "open.lock", timeout=0), StudyServer(folder, study, port) as server:
            links = "\n".join(f"  http://{HOST}:{server.server_port}/#{code}" for code in codes)
            print(f"One address for each rater. Ctrl-C stops the server, and the same command continues.\n{links}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    except TimeoutError as error:
        raise SrganError(f"{folder}: is served already, by another srgan study open. Stop that one first") from error


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer

    def do_GET(self) -> None:
        picture = re.fullmatch(r"/pictures/([0-9a-f]{24})\.webp", self.path)
        if not self._is_local():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this name is not served\n")
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif picture:
            try:
                self._send(HTTPStatus.OK, "image/webp", read_picture(self.server.folder, picture[1]))
            except SrganError as error:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", f"{error}\n".encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")

    def do_POST(self) -> None:
        length, kind = self.headers.get("Content-Length", ""), self.headers.get("Content-Type")
        if not self._is_local() or kind != "application/json" or not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True  # the body is not read
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "not a request of the page"})
            return
        text = self.rfile.read(int(length)).decode(errors="replace")
        try:
            if self.path == "/enter":
                status, answer = self._enter(parse(Entry, text, "request"))
            elif self.path == "/answer":
                status, answer = self._store(parse(Vote, text, "request"))
            else:
                status, answer = HTTPStatus.NOT_FOUND, {"error": "no such page"}
        except SrganError as error:
            status, answer = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except OSError as error:  # such as a full disk: the page keeps the answer and sends it again
            log.error("an answer is not stored: %s: %s", error.filename, error.strerror)
            status, answer = HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the answer could not be stored"}
        self._answer(status, answer)

    def _enter(self, entry: Entry) -> tuple[HTTPStatus, dict[str, Any]]:
        study, rater = self.server.study, self.server.study.rater_of(entry.code)
        if rater is None:
            return HTTPStatus.FORBIDDEN, {"error": "unknown code"}
        answers = read_log(log_path(self.server.folder, rater))
        return HTTPStatus.OK, {"trials": study.raters[rater - 1].trials, "answers": [answer.model_dump() for answer in answers.values()]}

    def _store(self, vote: Vote) -> tuple[HTTPStatus, dict[str, Any]]:
        rater = self.server.study.rater_of(vote.code)
        if rater is None:
            return HTTPStatus.FORBIDDEN, {"error": "unknown code"}
        check_trials([vote.answer], self.server.study, rater, "request")
        with self.server.storing:
            append(log_path(self.server.folder, rater), vote.answer)
        return HTTPStatus.OK, {}

    def _is_local(self) -> bool:
        return self.headers.get("Host", "").rpartition(":")[0] in LOCAL_NAMES

    def _answer(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: they are personal data."""
