"""The DVC stages as processes whose output is streamed and that can be stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import networkx
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError

from pipelines.infra import process_guard, workspace_lock
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable, nearest

STOP_SECONDS = 30.0  # for a stage to write its checkpoint before it is killed


class StageFailed(SrganError):
    """A stage ended with an error."""


@contextlib.contextmanager
def _dvc_project(root: Path) -> Iterator[Repo]:
    """Open the DVC repository of the project.

    Raises:
        SrganError: DVC cannot read it, for example without a git repository or with a broken dvc.yaml.
    """
    try:
        with Repo(str(root)) as repo:
            yield repo
    except SCMError as error:
        raise SrganError(f"{error}. DVC needs one: git init") from error
    except DvcException as error:
        raise SrganError(f"DVC cannot read the project in {root}: {error}. See: dvc status") from error


def graph(root: Path) -> dict[str, list[str]]:
    """Return the stages of the project in running order, each with the stages that it waits for."""
    with _dvc_project(root) as repo:
        stages = repo.index.graph  # edges point from a stage to its dependencies
        order = list(networkx.topological_sort(stages.reverse(copy=True)))
        return {stage.name: sorted(before.name for before in stages.successors(stage)) for stage in order}


def part(stages: dict[str, list[str]], first: str | None, last: str | None) -> dict[str, list[str]]:
    """Return the part of a graph that depends on `first` and that `last` depends on. Both are included.

    Raises:
        SrganError: a stage does not exist, or no path connects both.
    """
    for name in (first, last):
        if name and name not in stages:
            raise SrganError(f"no stage '{name}' in dvc.yaml{nearest(name, list(stages))}")
    edges = networkx.DiGraph([(before, stage) for stage, earlier in stages.items() for before in earlier])
    edges.add_nodes_from(stages)
    kept = set(stages)
    if first:
        kept &= {first, *networkx.descendants(edges, first)}
    if last:
        kept &= {last, *networkx.ancestors(edges, last)}
    if not kept:
        raise SrganError(f"nothing leads from stage '{first}' to stage '{last}'. See: dvc dag")
    return {stage: [name for name in before if name in kept] for stage, before in stages.items() if stage in kept}


def changed(stage: str, root: Path) -> bool:
    """Return True if DVC would run the stage. A call in this process takes 0.1 s. A `dvc` command takes 0.9 s."""
    try:
        with Repo(str(root)) as repo, repo.lock:
            return bool(repo.stage.load_one(name=stage).changed())
    except DvcException:  # a broken dvc.yaml or another running DVC: `dvc repro` has the better message
        return True


def reproduce(stage: str, root: Path, report: Callable[[str], None], force: bool = False) -> bool:
    """Run one stage by ``dvc repro --single-item STAGE``, if it is out of date.

    If this function ends early (a cancelled flow, Ctrl-C, SIGKILL), all processes of the stage get SIGTERM, then time to write a
    checkpoint, then SIGKILL. See `pipelines.infra.process_guard`.

    Args:
        stage: its name in ``dvc.yaml``.
        root: the project's folder.
        report: called with each line of output.
        force: run it even if nothing has changed.

    Returns:
        True if the stage ran. False if DVC found it up to date or in its cache.

    Raises:
        Unreachable: a server that the stage needs cannot be reached, with the stage's own error message.
        StageFailed: anything else, with the stage's own error message.
    """
    lines: list[str] = []
    code = _dvc(["repro", "--single-item", *(["--force"] if force else []), stage], root, lambda line: (lines.append(line), report(line)))
    if code:
        errors = [line for line in lines if re.match(r"srgan \w+: error: ", line)] or [line for line in lines if line.startswith("ERROR:")]
        kind = Unreachable if any(f"exited with {Unreachable.EXIT_CODE}" in line for line in lines) else StageFailed
        raise kind(f"stage {stage} failed (exit code {code}): {errors[0] if errors else 'it was killed, or see its output above'}")
    return any(line.startswith(f"Running stage '{stage}'") for line in lines)


def recorded(out: str, root: Path) -> str | None:
    """Return the digest of an out in ``dvc.lock``, or None."""
    with _dvc_project(root) as repo:
        found = [each for each in repo.index.outs if Path(each.fs_path) == root.resolve() / out]
        return found[0].hash_info.value if found and found[0].hash_info else None


def remote(name: str, root: Path) -> None:
    """Check that a DVC remote exists.

    Raises:
        SrganError: it does not.
    """
    with _dvc_project(root) as repo:
        known = list(repo.config["remote"])
    if name not in known:
        raise SrganError(f"no DVC remote '{name}'{nearest(name, known)}. Make it with: dvc remote add {name} ADDRESS")


def push(name: str, root: Path, report: Callable[[str], None]) -> None:
    """Send the outs of the stages to a DVC remote.

    Raises:
        Unreachable: some files were not sent. A second push sends only those.
    """
    lines: list[str] = []
    if _dvc(["push", "--remote", name], root, lambda line: (lines.append(line), report(line))):
        problem = next((line for line in lines if line.startswith("ERROR:")), "see the output above")
        raise Unreachable(f"dvc push to '{name}' failed: {problem}")


def _dvc(arguments: list[str], root: Path, report: Callable[[str], object]) -> int:
    """Run `dvc` with a process guard and report its output line by line. Return its exit code."""
    environment = os.environ | {
        # `srgan` and `dvc` of this interpreter come first, also if its environment is not activated.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        # torch's agent starts training processes in new sessions. It must end them before the guard ends it.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(STOP_SECONDS) - 5),
    }
    process = subprocess.Popen(
        process_guard.command(STOP_SECONDS, sys.executable, "-m", "dvc", *arguments),
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        pass_fds=workspace_lock.inherited_fds(),
        start_new_session=True,  # a worker may kill the whole group of the flow, which the guard must survive
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line := without_secrets(line.rstrip()):
                report(without_secrets(line))
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        for line in process.stdout:  # a process whose output is not read may not end
            report(without_secrets(line.rstrip()))
        process.wait()
        raise
