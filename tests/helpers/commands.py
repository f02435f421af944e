"""Commands run as a user runs them."""

import contextlib
import gc
import io
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dvc.cli
import dvc.stage.run
import mlflow
import torch
from dvc.stage.exceptions import StageCmdFailedError
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.tracking._model_registry import utils as registry_service
from mlflow.tracking._tracking_service import utils as tracking_service

from srgan.commands.main import main as srgan
from srgan.distributed import launch
from srgan.inference import benchmark
from srgan.utils import files

# What `srgan.tracking.store` sets when it is imported.
ON_IMPORT = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a user who has activated this interpreter's environment and configured nothing."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_", "SRGAN_", "DVC_", "MAKE", "MFLAGS"))
    }
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"OMP_NUM_THREADS": "1"} | changes


def run(
    *command: str | Path, cwd: Path, check: bool = True, timeout: float = 200, meanwhile: Callable[[], object] | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does. With `check`, a failure shows its output.

    `srgan` and `dvc` run within this process, which has imported what they need. `meanwhile` then runs in a thread. A signal that it sends
    to this process reaches the command. `start` runs a command in a process of its own.
    """
    arguments = list(map(str, command))
    if arguments[0] in ("srgan", "dvc"):
        done = _run_here(arguments, cwd, environment(**env), meanwhile)
    else:
        done = subprocess.run(arguments, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(*command: str | Path, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own, for a test that stops it or changes something meanwhile."""
    return subprocess.Popen(
        list(map(str, command)), cwd=cwd, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _run_here(
    arguments: list[str], cwd: Path, env: dict[str, str], meanwhile: Callable[[], object] | None
) -> subprocess.CompletedProcess[str]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), ThreadPoolExecutor(1) as beside:
        done = beside.submit(meanwhile) if meanwhile else None
        code = _call(arguments, cwd, env)
    if done:
        done.result()
    elif code in (128 + signal.SIGINT, 128 + signal.SIGTERM):  # the signal was for pytest
        raise KeyboardInterrupt
    return subprocess.CompletedProcess(arguments, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def _call(arguments: list[str], cwd: str | Path, env: dict[str, str]) -> int:
    """Return the exit code of `srgan` or `dvc`."""
    with _as_process(arguments, cwd, env):
        try:
            return {"srgan": srgan, "dvc": dvc.cli.main}[arguments[0]](arguments[1:]) or 0
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run_stage_command(executable: str, command: str, *, cwd: str, env: dict[str, str], **_: Any) -> None:
    """Run a stage's command for DVC."""
    if code := _call(command.split(), cwd, env):
        raise StageCmdFailedError(command, code)


@contextlib.contextmanager
def _as_process(arguments: list[str], cwd: str | Path, env: dict[str, str]) -> Iterator[None]:
    """Give a command what a new process has, and take back what it changes of this one."""
    before = os.environ.copy(), Path.cwd(), sys.argv, sys.stdin
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    collected = gc.get_threshold()
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn.benchmark
    replaced = dvc.stage.run._run, launch.exit_with_parent, benchmark.measure
    _forget()
    patience = {name: value for name, value in os.environ.items() if name in ON_IMPORT}
    os.environ.clear()
    os.environ.update(patience | env | {"DVC_TEST": "true"})  # with DVC_TEST, DVC keeps the redirected standard output
    os.chdir(cwd)
    sys.argv, sys.stdin = arguments, io.StringIO()
    dvc.stage.run._run, launch.exit_with_parent, benchmark.measure = _run_stage_command, lambda: None, benchmark._measure_here
    try:
        with warnings.catch_warnings(), _logging_of_its_own():
            yield
    finally:
        _forget()
        dvc.stage.run._run, launch.exit_with_parent, benchmark.measure = replaced
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = cudnn
        gc.set_threshold(*collected)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(before[0])
        os.chdir(before[1])
        sys.argv, sys.stdin = before[2:]


@contextlib.contextmanager
def _logging_of_its_own() -> Iterator[None]:
    root = logging.root
    loggers = [root, *(each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level, each.propagate, each.handlers[:], each.filters[:]) for each in loggers]
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    streams = [(handler, handler.stream) for handler in logging.getLogger("dvc").handlers]
    for handler, _ in streams:  # DVC opens them once
        handler.stream = sys.stderr if handler.level == logging.WARNING else sys.stdout
    try:
        yield
    finally:
        for handler, stream in streams:
            handler.stream = stream
        logging.captureWarnings(False)
        for logger, level, propagate, handlers, filters in before:
            logger.level, logger.propagate, logger.handlers[:], logger.filters[:] = level, propagate, handlers, filters
        root.setLevel(root.level)  # empties the caches of all


def _forget() -> None:
    """Empty what a process keeps between two calls: caches, and the databases that MLflow has opened."""
    files._sweep.cache_clear()  # the other caches hold what no command changes, such as the profiles
    if opened := sys.modules.get("srgan.tracking.store"):
        opened._opened.clear()
    for store in (TrackingStore, RegistryStore):
        for engine in store._engine_map.values():
            engine.dispose()
        store._engine_map.clear()
    tracking_service._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    registry_service._get_store_registry()._get_store_with_resolved_uri.cache_clear()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """Return what the condition gives, once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
