"""The lock of the working copy: one run at a time changes it. Also the parameters that a flow writes."""

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
POLL_SECONDS, REPORT_SECONDS = 1.0, 60.0  # between attempts to get the lock, and between log lines about it

_held: dict[Path, int] = {}  # file descriptors of the locks that this process holds


class Busy(SrganError):
    """Another run uses this working copy, or this folder of results."""


@contextlib.contextmanager
def acquire(
    project: Project,
    run: str,
    wait: bool,
    report: Callable[[str], None],
    identity: str = "",
    killed: Callable[[str], None] = lambda identity: None,
    results: Path | None = None,
) -> Iterator[None]:
    """Lock the working copy, or a folder of results. A flow that another flow called holds the lock already.

    The kernel releases the lock when the last process that holds it ends. The processes that a flow starts hold it too (see
    `inherited_fds`). So the lock of a killed flow is released when its stage has ended.

    Args:
        project: the working copy.
        run: name of this run, for the messages of other runs.
        wait: wait for another run to end.
        report: called with a line while waiting.
        identity: id of the run on Prefect's server.
        killed: called with the id of the run that held the lock before, if that run was killed.
        results: folder of results to lock. Default: the working copy.

    Raises:
        Busy: another run holds the lock, and `wait` is false.
    """
    place = (results or project.root).resolve()
    path = project.root.resolve() / (LOCK.with_stem(f"{LOCK.stem}-{files.digest(str(place))[:16]}") if results else LOCK)
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        reported = -REPORT_SECONDS
        while not _locked(descriptor):
            who = f"{place} is in use by {_holder(path)}"
            if not wait:
                raise Busy(f"{who}. Wait for its end, or {'name another folder' if results else 'let this run wait for it'}")
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                report(f"{who}; waiting for its end")
            time.sleep(POLL_SECONDS)
        left = files.read_json_or_none(path)
        if left and left["id"] != identity:  # equal for a retry of the killed run
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
    """Find runs that were killed together with their processes.

    Args:
        project: the working copy.
        killed: called with the id of each.
    """
    for path in sorted((project.root / LOCK.parent).glob(f"{LOCK.stem}*{LOCK.suffix}")):
        with path.open("r+b") as file:
            if _locked(file.fileno()) and (left := files.read_json_or_none(path)):
                killed(left["id"])
                file.truncate(0)


def inherited_fds() -> list[int]:
    """Return the file descriptors that a child process must inherit to hold the lock too."""
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
    except (ValueError, KeyError, TypeError):  # the run has only started
        return "another run"


def set_params(project: Project, profile: str | None, overrides: dict[str, Any]) -> None:
    """Write a profile and overrides into ``params.yaml``. Comments are kept. The file is not restored, as it describes the results.

    Args:
        project: whose parameters.
        profile: the profile to start from. Default: the file as it is. An edited file gets a backup before a profile replaces it.
        overrides: dotted names and values, such as ``{"train.steps": 1000}``.

    Raises:
        SrganError: a profile or parameter does not exist, or a value is not valid. The file is not changed.
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
    if before != after and (profile or not own):  # a user's file with overrides is still the user's
        files.write_json(written, files.digest(after))


@functools.cache  # once, also for called flows: a second signal would interrupt the clean-up of the first
def end_with_worker() -> None:
    """End this flow with SIGTERM when its worker has ended, as nothing could stop the flow any more."""
    if os.environ.get("PREFECT__FLOW_RUN_ID") and (worker := psutil.Process().parent()):
        launch.exit_when(worker)
