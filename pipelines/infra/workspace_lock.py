"""What flows share, the working copy above all: one run at a time changes it."""

import contextlib
import fcntl
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from dvc.utils.serialize import modify_yaml

from srgan.config import profiles, renamed, schema
from srgan.config.project import Project
from srgan.distributed import launch
from srgan.utils import files
from srgan.utils.errors import SrganError

LOCK = Path(".dvc/tmp/flow.lock")
WRITTEN = Path(".dvc/tmp/flow.params.json")  # digest of the parameters that a flow wrote last
LOOK, TELL = 1.0, 60.0  # seconds between looks at a busy working copy, and between lines that say so

_held: dict[Path, int] = {}  # the locks that this process has: their file descriptors


class Busy(SrganError):
    """Another run is at work in this working copy, or in this folder of results."""


@contextlib.contextmanager
def acquire(
    project: Project,
    run: str,
    wait: bool,
    tell: Callable[[str], None],
    identity: str = "",
    killed: Callable[[str], None] = lambda identity: None,
    results: Path | None = None,
) -> Iterator[None]:
    """Have the working copy for oneself, or a folder of results. A flow that another one called has it already.

    The lock is the kernel's: it goes with the processes that hold it, however they end. The processes that a flow starts hold it too (see
    `inherited_fds`), so a killed flow frees it when its stage has ended, not before.

    Args:
        project: the working copy.
        run: what is at work, for others that come.
        wait: for another run to end.
        tell: called with a line while waiting.
        identity: of the run on Prefect's server.
        killed: called with the identity of the run that had it last, if that one was killed before it could say so.
        results: the folder, wherever it is; None: the working copy.

    Raises:
        Busy: another run is at work, and `wait` is false.
    """
    place = (results or project.root).resolve()
    path = project.root.resolve() / (LOCK.with_stem(f"{LOCK.stem}-{files.digest(str(place))[:16]}") if results else LOCK)
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        told = -TELL
        while not _locked(descriptor):
            who = f"{place} is in use by {_holder(path)}"
            if not wait:
                raise Busy(f"{who}; wait for its end, or {'name another folder' if results else 'let this run wait for it'}")
            if time.monotonic() - told >= TELL:
                told = time.monotonic()
                tell(f"{who}; waiting for its end")
            time.sleep(LOOK)
        left = files.read_json_or_none(path)
        if left and left["id"] != identity:  # its own, if it was killed and is tried again
            killed(left["id"])
        os.truncate(descriptor, 0)
        holder = {"run": run, "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M"), "id": identity}
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        _held[path] = descriptor
        try:
            yield
        finally:
            del _held[path]
            os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def report_killed(project: Project, killed: Callable[[str], None]) -> None:
    """Look for runs that were killed with all that could have said so.

    Args:
        project: the working copy.
        killed: called with the identity of each.
    """
    for path in sorted((project.root / LOCK.parent).glob(f"{LOCK.stem}*{LOCK.suffix}")):
        with path.open("r+b") as file:
            if _locked(file.fileno()) and (left := files.read_json_or_none(path)):
                killed(left["id"])
                file.truncate(0)


def inherited_fds() -> list[int]:
    """The file descriptors that a child process has to inherit to hold the working copy as long as it lives."""
    return list(_held.values())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"the run '{holder['run']}' (process {holder['process']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):  # it has only just begun
        return "another run"


def set_params(project: Project, profile: str | None, overrides: dict[str, Any]) -> None:
    """Write what a run is to be made with into ``params.yaml``, comments kept. It stays so: the results are of these parameters.

    Args:
        project: whose parameters.
        profile: to begin with; None: the file as it is. A file of one's own that a profile replaces is kept beside it.
        overrides: dotted names and values, such as ``{"train.steps": 1000}``.

    Raises:
        SrganError: there is no such profile or parameter, or a value is not valid; the file is as it was then.
    """
    path, written = project.params, project.root / WRITTEN
    before = files.require(path, "git checkout").read_text(encoding="utf-8")
    with files.atomic_file(path) as temporary:
        temporary.write_text(profiles.read(profile) if profile else before, encoding="utf-8")
        with modify_yaml(str(temporary)) if overrides else contextlib.nullcontext({}) as values:
            for name, value in overrides.items():
                if not renamed.set_option(values, name, value, tuple(schema.Params.model_fields)):
                    raise SrganError(f"overrides: no parameter '{name}' in {path.name}")
        try:
            schema.load(temporary)
        except SrganError as error:
            raise SrganError(files.final_name(str(error))) from error
        after = temporary.read_text(encoding="utf-8")
        own = files.digest(before) != files.read_json_or_none(written)
        if profile and before != after and own:
            profiles.backup(path)
    if before != after and (profile or not own):  # overrides of one's own file leave it one's own
        files.write_json(written, files.digest(after))


@functools.cache  # once, also for flows that a flow calls: a second signal would break into the clean-up of the first
def end_with_worker() -> None:
    """Get SIGTERM when the worker that started this flow is gone: nobody could stop it any more."""
    if os.environ.get("PREFECT__FLOW_RUN_ID") and (worker := psutil.Process().parent()):
        launch.exit_when(worker)
