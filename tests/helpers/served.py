"""What ``make prefect`` brings up, for tests."""

import base64
import http.server
import json
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

import psutil

from tests.helpers.commands import environment, wait_for
from tests.pipelines.test_flows import processes_in


class Server:
    """What ``make prefect`` brings up, for one project."""

    def __init__(self, folder: Path, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.home, self.log = folder, home, home / "log.txt"
        self.env = environment(PREFECT_HOME=str(home), PREFECT_SERVER_API_PORT=str(self.port), PREFECT_WORKER_QUERY_SECONDS="2")
        self.process: subprocess.Popen[bytes] | None = None
        self.pages = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.pages}/api"

    def start(self) -> None:
        with self.log.open("a") as log:
            before = self.log.stat().st_size
            command = [sys.executable, "-m", "pipelines.infra.server"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        wait_for(lambda: "Worker '" in self.log.read_text()[before:] or self.process.poll() is not None, 180)
        assert self.process.poll() is None, self.log.read_text()

    @property
    def password(self) -> str:
        return tomllib.loads((self.home / "profiles.toml").read_text())["profiles"]["srgan-local"]["PREFECT_API_AUTH_STRING"]

    def headers(self) -> dict[str, str]:
        return {"content-type": "application/json", "authorization": f"Basic {base64.b64encode(self.password.encode()).decode()}"}

    def call(self, path: str, body: object = None, method: str | None = None, **headers: str) -> object:
        """The API's answer to the user."""
        data = None if body is None else json.dumps(body).encode()
        if data:
            headers |= {"prefect-csrf-client": "tests", "prefect-csrf-token": self.call("csrf-token?client=tests")["token"]}
        request = urllib.request.Request(f"{self.url}/{path}", data, self.headers() | headers, method=method)
        for left in (2, 1, 0):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer) if answer.status != 204 else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:  # 503: its database is busy
                    raise
            time.sleep(2)

    def trigger(self, deployment: str, **parameters: object) -> str:
        found = self.call(f"deployments/name/{deployment}")
        return self.call(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def state(self, run: str) -> dict[str, object]:
        return self.call(f"flow_runs/{run}")["state"]

    def ended(self, run: str, seconds: float = 90) -> dict[str, object]:
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return wait_for(lambda: (state := self.state(run))["type"] in final and state, seconds)

    def logged(self, run: str) -> list[str]:
        found = self.call("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
        return [entry["message"] for entry in found]

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of `prefect` with these words in their command, in order of their start."""
        found = [process for process in processes_in(self.folder) if process.cmdline()[1:3] == ["-m", "prefect"]]
        return [process for process in found if process.cmdline()[3 : 3 + len(words)] == list(words)]

    def flow_process(self, run: str) -> psutil.Process:
        """What the worker has started for a run."""
        found = [process for process in processes_in(self.folder) if process.cmdline()[1:3] == ["-m", "prefect.engine"]]
        (process,) = (process for process in found if process.environ()["PREFECT__FLOW_RUN_ID"] == run)
        return process

    def up(self) -> bool:
        try:
            return self.call("health") is True
        except OSError:
            return False


class Other(http.server.BaseHTTPRequestHandler):
    """Another program on the port: its answers by path, 404 for the rest; what it was sent is noted."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    sent: ClassVar[list[str]] = []

    def do_GET(self):
        self.sent.append(str(self.headers))
        status, text = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


OF_NOBODY = """
import http.server

class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

server = http.server.HTTPServer(("127.0.0.1", 0), Healthy)
print(server.server_port, flush=True)
server.serve_forever()
"""
