"""DVC's stages, as processes that can be watched and stopped."""

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
from srgan.config.yaml import nearest
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable

STOP_SECONDS = 30.0  # what a stage gets to write its checkpoint before it is killed


class StageFailed(SrganError):
    """A stage ended with an error."""


@contextlib.contextmanager
def _dvc_project(root: Path) -> Iterator[Repo]:
    """DVC's view of the project.

    Raises:
        SrganError: DVC cannot read it: no git repository, a broken dvc.yaml.
    """
    try:
        with Repo(str(root)) as repo:
            yield repo
    except SCMError as error:
        raise SrganError(f"{error}; DVC needs one: git init") from error
    except DvcException as error:
        raise SrganError(f"DVC cannot read the project in {root}: {error}; see: dvc status") from error


def graph(root: Path) -> dict[str, list[str]]:
    """The stages of the project in running order, each with the stages it waits for, read from DVC."""
    with _dvc_project(root) as repo:
        stages = repo.index.graph  # edges point from a stage to what it depends on
        order = list(networkx.topological_sort(stages.reverse(copy=True)))
        return {stage.name: sorted(before.name for before in stages.successors(stage)) for stage in order}


def part(stages: dict[str, list[str]], first: str | None, last: str | None) -> dict[str, list[str]]:
    """What of a graph lies between two stages, themselves included: what `first` leads to, and what leads to `last`.

    Raises:
        SrganError: there is no stage of such a name, or none between them.
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
        raise SrganError(f"nothing leads from stage '{first}' to stage '{last}'; see: dvc dag")
    return {stage: [name for name in before if name in kept] for stage, before in stages.items() if stage in kept}


def changed(stage: str, root: Path) -> bool:
    """Whether DVC would not skip the stage. Asked here it takes 0.1 s, where starting `dvc` for it takes 0.9."""
    try:
        with Repo(str(root)) as repo, repo.lock:
            return bool(repo.stage.load_one(name=stage).changed())
    except DvcException:  # a broken dvc.yaml, another DVC at work: `dvc repro` says it better
        return True


def reproduce(stage: str, root: Path, tell: Callable[[str], None], force: bool = False) -> bool:
    """Run one stage by ``dvc repro --single-item STAGE``, if it is out of date.

    Whatever ends this function early (a cancelled flow, Ctrl-C, SIGKILL), all processes of the stage get SIGTERM, then time to write a
    checkpoint, and are gone soon after; see `pipelines.infra.process_guard`.

    Args:
        stage: its name in ``dvc.yaml``.
        root: the project's folder.
        tell: called with each line of output.
        force: run it even if nothing has changed.

    Returns:
        Whether the stage ran; False if DVC found it up to date or in its cache.

    Raises:
        Unreachable: a server that the stage needs cannot be reached, with the stage's own error message.
        StageFailed: anything else, with the stage's own error message.
    """
    lines: list[str] = []
    code = _dvc(["repro", "--single-item", *(["--force"] if force else []), stage], root, lambda line: (lines.append(line), tell(line)))
    if code:
        told = [line for line in lines if re.match(r"srgan \w+: error: ", line)] or [line for line in lines if line.startswith("ERROR:")]
        kind = Unreachable if any(f"exited with {Unreachable.EXIT_CODE}" in line for line in lines) else StageFailed
        raise kind(f"stage {stage} failed (exit code {code}): {told[0] if told else 'it was killed, or see its output above'}")
    return any(line.startswith(f"Running stage '{stage}'") for line in lines)


def recorded(out: str, root: Path) -> str | None:
    """The digest that ``dvc.lock`` has of an out; None if it has none yet."""
    with _dvc_project(root) as repo:
        found = [each for each in repo.index.outs if Path(each.fs_path) == root.resolve() / out]
        return found[0].hash_info.value if found and found[0].hash_info else None


def remote(name: str, root: Path) -> None:
    """Make sure that there is a DVC remote of this name.

    Raises:
        SrganError: there is none.
    """
    with _dvc_project(root) as repo:
        known = list(repo.config["remote"])
    if name not in known:
        raise SrganError(f"no DVC remote '{name}'{nearest(name, known)}; make it with: dvc remote add {name} ADDRESS")


def push(name: str, root: Path, tell: Callable[[str], None]) -> None:
    """Send what the stages made to a DVC remote.

    Raises:
        Unreachable: it did not take everything; what it took is there, and is not sent again.
    """
    lines: list[str] = []
    if _dvc(["push", "--remote", name], root, lambda line: (lines.append(line), tell(line))):
        told = next((line for line in lines if line.startswith("ERROR:")), "see the output above")
        raise Unreachable(f"dvc push to '{name}' failed: {told}")


def _dvc(arguments: list[str], root: Path, tell: Callable[[str], object]) -> int:
    """Run `dvc` under guard, line by line. Returns its exit code."""
    environment = os.environ | {
        # `srgan` and `dvc` are those of this interpreter, whether or not its environment is activated.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        # torch's agent starts the processes of a training in sessions of their own: it has to end them before the guard ends it.
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
        start_new_session=True,  # a worker that loses patience kills the flow's whole group; the guard has to outlive it
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line := without_secrets(line.rstrip()):
                tell(without_secrets(line))
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        for line in process.stdout:  # read on: a process that cannot write cannot end
            tell(without_secrets(line.rstrip()))
        process.wait()
        raise
