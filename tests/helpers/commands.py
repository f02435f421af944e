"""Commands run as a user runs them."""

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user who has activated this interpreter's environment and configured nothing."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_", "SRGAN_", "DVC_", "MAKE", "MFLAGS"))
    }
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"OMP_NUM_THREADS": "1"} | changes


def run(*command: str | Path, cwd: Path, check: bool = True, timeout: float = 200, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would; with `check`, a failure shows its output.

    `srgan` and `dvc` are spared their start, also where `dvc` calls `srgan`: see `forked.py`.
    """
    arguments = list(map(str, command))
    if arguments[0] == "srgan":
        done = Forked(*arguments, cwd=cwd, **env).wait(timeout)
    elif arguments[0] == "dvc":
        with shim() as folder:
            env["PATH"] = os.pathsep.join([folder, environment()["PATH"]])
            done = Forked(*arguments, cwd=cwd, **env).wait(timeout)
    else:
        done = subprocess.run(arguments, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@functools.cache
def _server(program: str) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forked.py")), program],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.kill)
    return server


def _begin(program: str, request: dict[str, object]) -> int:
    """Let the server run a command; the child's number."""
    server = _server(program)
    assert server.stdin
    assert server.stdout
    print(json.dumps(request), file=server.stdin, flush=True)
    return int(server.stdout.readline())


def _end(program: str, child: int, timeout: float) -> int:
    """Its exit code; killed if that does not come in time."""
    late = threading.Timer(timeout, os.kill, (child, signal.SIGKILL))
    late.start()
    code = int(_server(program).stdout.readline())  # type: ignore[union-attr]
    late.cancel()
    return code


class Forked:
    """A running `srgan` or `dvc`; one of each at a time."""

    def __init__(self, *command: str, cwd: Path, **env: str) -> None:
        self.command = list(command)
        self.out, self.err = tempfile.NamedTemporaryFile("r"), tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - `wait` closes them
        request = {"arguments": self.command[1:], "cwd": str(cwd), "env": environment(**env)}
        self.pid = _begin(command[0], request | {"out": self.out.name, "err": self.err.name})

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        code = _end(self.command[0], self.pid, timeout)
        with self.out, self.err:
            return subprocess.CompletedProcess(self.command, code, self.out.read(), self.err.read())


SHIM = """#!{python} -SE
import json, os, sys
own = f"/proc/{{os.getpid()}}/fd/"
request = {{"arguments": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "out": own + "1", "err": own + "2"}}
with open("{folder}/ask", "w") as ask:
    print(json.dumps(request), file=ask)
with open("{folder}/answer") as answer:
    sys.exit(int(answer.read()))
"""


@contextlib.contextmanager
def shim() -> Iterator[str]:
    """A folder with a command `srgan` that lets the server do its work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "srgan").write_text(SHIM.format(python=sys.executable, folder=folder))
        (folder / "srgan").chmod(0o755)
        for pipe in ("ask", "answer"):
            os.mkfifo(folder / pipe)

        def serve() -> None:
            while line := (folder / "ask").read_text():
                (folder / "answer").write_text(str(_end("srgan", _begin("srgan", json.loads(line)), 200)))

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield name
        finally:
            (folder / "ask").write_text("")  # opened and closed: the end
            server.join()


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """What the condition gives, once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
