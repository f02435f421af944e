"""DVC's stages, as processes that can be watched and stopped."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import networkx
from dvc.exceptions import DvcException
from dvc.repo import Repo

STOP_SECONDS = 30.0  # what a stage gets to write its checkpoint before it is killed


class StageFailed(Exception):
    """A stage ended with an error."""


def graph(root: Path) -> dict[str, list[str]]:
    """The stages of the project in running order, each with the stages it waits for, read from DVC."""
    with Repo(str(root)) as repo:
        stages = repo.index.graph  # edges point from a stage to what it depends on
        order = list(networkx.topological_sort(stages.reverse(copy=True)))
        return {stage.name: sorted(before.name for before in stages.successors(stage)) for stage in order}


def _unchanged(stage: str, root: Path) -> bool:
    """Whether DVC would skip the stage. Asked here it takes 0.1 s, where starting `dvc` for it takes 0.9."""
    try:
        with Repo(str(root)) as repo, repo.lock:
            return not repo.stage.load_one(name=stage).changed()
    except DvcException:  # a broken dvc.yaml, another DVC at work: `dvc repro` says it better
        return False


def reproduce(stage: str, root: Path, tell: Callable[[str], None]) -> bool:
    """Run one stage if it is out of date: ``dvc repro --single-item STAGE``.

    The stage has a process group of its own. Whatever ends this function early (a cancelled flow, Ctrl-C), the whole group gets
    SIGTERM, then time to write a checkpoint, and is gone when the exception goes on.

    Args:
        stage: its name in ``dvc.yaml``.
        root: the project's folder.
        tell: called with each line of output.

    Returns:
        Whether the stage ran; False if DVC found it up to date or in its cache.

    Raises:
        StageFailed: with the stage's own error message.
    """
    if _unchanged(stage, root):
        tell(f"Stage '{stage}' didn't change, skipping")
        return False
    environment = os.environ | {
        # `srgan` and `dvc` are those of this interpreter, whether or not its environment is activated.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--single-item", stage],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    ran, reason = False, ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line := line.rstrip():
                ran = ran or line.startswith(f"Running stage '{stage}'")
                if re.match(r"srgan \w+: error: ", line) or (line.startswith("ERROR:") and not reason):
                    reason = line
                tell(line)
        code = process.wait()
    except BaseException:
        _stop_group(process, tell)
        raise
    if code:
        raise StageFailed(f"stage {stage} failed (exit code {code}): {reason or 'it was killed, or see its output above'}")
    return ran


def _stop_group(process: subprocess.Popen[str], tell: Callable[[str], None]) -> None:
    """End every process of the group, and wait for all of them: a trainer may outlive the `dvc` that started it."""
    _signal_group(process, signal.SIGTERM)
    killer = threading.Timer(STOP_SECONDS, _signal_group, (process, signal.SIGKILL))
    killer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:  # read on: a process that cannot write cannot end
            tell(line.rstrip())
        end = time.monotonic() + STOP_SECONDS
        while _signal_group(process, 0) and time.monotonic() < end:
            process.poll()  # reaps the leader, which would otherwise count as a member for ever
            time.sleep(0.05)
    finally:
        killer.cancel()


def _signal_group(process: subprocess.Popen[str], number: int) -> bool:
    """Send a signal (0: none) to the group. Returns whether there is such a group still."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # none left; or, on macOS, only ended ones
        return False
    return True
