"""A tiny project that every test may look at, made once: the real stages, run by the real DVC, for seconds instead of minutes."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock

from srgan.distributed.launch import MALLOC

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start inherits it.
with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tests run beside each other; the networks are tiny

ROOT = Path(__file__).resolve().parent.parent

TINY = {
    "model.features": 8,
    "model.depth": 1,
    **{f"{stage}.{key}": value for stage in ("pretrain", "train") for key, value in {
        "steps": 6, "batch": 2, "patch": 32, "schedule.warmup": 0, "log_every": 2, "validate_every": 3, "checkpoint_every": 2,
        "precision": "fp32", "lpips": False,
    }.items()},
    "train.discriminator.features": 4,
    "train.discriminator.depth": 2,
    "export.fp16": False,
    "evaluate.lpips": [],
}  # fmt: skip


def write_params(folder: Path, changes: dict[str, object] | None = None) -> Path:
    """The demo's ``params.yaml``, made tiny, with `changes` such as ``{"train.steps": 3}``."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    changes = changes or {}
    replaced = tuple(f"{name}." for name in changes)  # a whole section, of which the tiny values may be none
    for name, value in ({key: value for key, value in TINY.items() if not key.startswith(replaced)} | changes).items():
        *sections, key = name.split(".")
        place = values
        for section in sections:
            place = place[section]
        assert key in place, name
        place[key] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def write_model(folder: Path, scale: int = 2, objective: str = "gan") -> Path:
    """A tiny exported model with random weights."""
    from srgan.export import onnx
    from srgan.models.registry import build_generator

    torch.manual_seed(1)
    model = build_generator("compact", scale=scale, features=8, depth=2).eval()
    path = folder / onnx.file_name(scale, "t", "compact")
    onnx.export_onnx(path, model, {"sr.objective": objective, "sr.name": "t"})
    return path


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
        env=environment(**MALLOC),
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
        request = {"arguments": self.command[1:], "cwd": str(cwd), "env": environment(**MALLOC, **env)}
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


def make_project(folder: Path, changes: dict[str, object] | None = None) -> Path:
    """A clone's worth of project files with tiny parameters, in a git repository of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "prefect.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    write_params(folder, changes)
    run("git", "init", "-q", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start", cwd=folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the project come first: one of two workers makes it, the other begins with the rest."""
    items.sort(key=lambda item: "project" not in item.fixturenames)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project whose pipeline has run once. Look, do not touch: `copy_of_project` is for tests that change things."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # the workers of pytest-xdist make it once between them
    folder = shared / "project"
    with FileLock(shared / "project.lock"):
        if not (folder / "dvc_plots" / "repro.log").is_file():
            make_project(folder)
            done = run("dvc", "repro", cwd=folder)
            (folder / "dvc_plots").mkdir()  # git-ignored: a place for what the command said
            (folder / "dvc_plots" / "repro.log").write_text(done.stdout + done.stderr)
    return folder


def copied(project: Path, folder: Path) -> Path:
    """A copy of the finished project that may be changed."""
    return shutil.copytree(project, folder, symlinks=True, ignore=shutil.ignore_patterns("tmp"))


@pytest.fixture
def copy_of_project(project: Path, tmp_path: Path) -> Path:
    """The finished project, to change at will."""
    return copied(project, tmp_path / "copy")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder behind ``SRGAN_MIRROR``; tests that need its real images and weights are skipped without it."""
    folder = os.environ.get("SRGAN_MIRROR")
    if not folder:
        pytest.skip("SRGAN_MIRROR is not set: no benchmark images and weights to test with")
    return Path(folder)
