"""The Prefect flows on a real project."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.infra import dvc, workspace_lock
from srgan.config import schema
from srgan.config.project import Project
from srgan.utils.errors import SrganError
from tests.helpers.commands import environment, wait_for
from tests.helpers.project import ROOT, runtime, write_params

STAGES = ["download", "prepare", "pretrain", "train", "export", "evaluate", "report", "register"]
LONG = {"pretrain.steps": 100_000} | runtime("pretrain", log_every=1000, checkpoint_every=50, validate_every=100_000)


def test_the_graph_is_dvcs_own(project):
    graph = dvc.graph(project)
    assert list(graph) == STAGES
    assert graph["download"] == []
    assert graph["train"] == ["prepare", "pretrain"]
    assert "export" in graph["evaluate"]


def test_a_part_of_the_graph_lies_between_two_stages(project):
    graph = dvc.graph(project)
    assert list(dvc.part(graph, None, None)) == STAGES
    assert dvc.part(graph, "train", "evaluate") == {"train": [], "export": ["train"], "evaluate": ["export", "train"]}
    assert list(dvc.part(graph, None, "prepare")) == ["download", "prepare"]
    assert list(dvc.part(graph, "report", None)) == ["report"]
    with pytest.raises(SrganError, match=r"no stage 'pretrian' in dvc.yaml; did you mean pretrain\?"):
        dvc.part(graph, "pretrian", None)
    with pytest.raises(SrganError, match="nothing leads from stage 'export' to stage 'pretrain'"):
        dvc.part(graph, "export", "pretrain")


def test_what_dvc_cannot_read_is_told_in_a_sentence(tmp_path):
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(SrganError, match=rf"{tmp_path} is not a git repository. DVC needs one: git init"):
        dvc.graph(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("stages: [")
    with pytest.raises(SrganError, match=rf"DVC cannot read the project in {tmp_path}: .*. See: dvc status"):
        dvc.graph(tmp_path)


# -- parameters ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_overrides_are_written_and_comments_stay(folder):
    before = (folder / "params.yaml").read_text()
    workspace_lock.set_params(
        Project(), None, {"train.steps": 1000, "train.losses.relativistic.weight": 0.25, "data.train": ["sample", "div2k"]}
    )
    loaded = schema.load()
    assert (loaded.train.steps, loaded.train.losses[2].weight, loaded.data.train) == (1000, 0.25, ("sample", "div2k"))
    after = (folder / "params.yaml").read_text()
    comments = [[line.partition("#")[2] for line in text.splitlines() if "#" in line] for text in (before, after)]
    assert comments[0] == comments[1] != []


@pytest.mark.parametrize(
    ("profile", "overrides", "message"),
    [
        (None, {"train.stepz": 10}, r"params.yaml:\d+: .*stepz.* did you mean steps\?"),
        (None, {"trian.steps": 10}, "overrides: no parameter 'trian.steps' in params.yaml"),
        (None, {"train.steps.more": 10}, "overrides: no parameter 'train.steps.more' in params.yaml"),
        (None, {"train.steps": "many"}, r"params.yaml:\d+: .*train.steps"),
        ("srgan-div2", {}, r"no profile 'srgan-div2'; did you mean srgan-div2k\?"),
    ],
)
def test_what_is_no_parameter_changes_nothing(folder, profile, overrides, message):
    before = (folder / "params.yaml").read_bytes()
    with pytest.raises(SrganError, match=message) as caught:
        workspace_lock.set_params(Project(), profile, overrides)
    assert ".tmp" not in str(caught.value)
    assert (folder / "params.yaml").read_bytes() == before
    assert sorted(path.name for path in folder.rglob("*")) == ["params.yaml"]


def test_ones_own_parameters_are_kept_beside_a_profile_those_of_a_flow_are_not(folder):
    own = (folder / "params.yaml").read_text() + "# my own\n"
    (folder / "params.yaml").write_text(own)
    workspace_lock.set_params(Project(), None, {"train.steps": 80})  # still one's own
    own = (folder / "params.yaml").read_text()
    workspace_lock.set_params(Project(), "srgan-div2k", {"train.steps": 70_000})
    assert (folder / "params.yaml.bak").read_text() == own
    assert schema.load().train.steps == 70_000
    workspace_lock.set_params(Project(), "demo", {"train.steps": 800})
    workspace_lock.set_params(Project(), "demo", {})
    assert sorted(path.name for path in folder.glob("params.yaml*")) == ["params.yaml", "params.yaml.bak"]


# -- one run at a time -----------------------------------------------------------------------------------------------------

HOLDER = """
import subprocess, sys, time
from pipelines.infra import workspace_lock
from srgan.config.project import Project
with workspace_lock.acquire(Project(), "first", True, print):
    with workspace_lock.acquire(Project(), "called by it", False, print):  # a flow that the first one calls
        child = subprocess.Popen(["sleep", sys.argv[1]], pass_fds=workspace_lock.inherited_fds())
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_busy_working_copy_refuses_or_makes_wait_until_the_last_process_is_gone(folder):
    (folder / "dvc.yaml").touch()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, "3"], stdout=subprocess.PIPE, text=True, env=environment(), cwd=folder)
    assert holder.stdout.readline() == "held\n"
    who = rf"{folder} is in use by the run 'first' \(process {holder.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d\)"
    with pytest.raises(workspace_lock.Busy, match=f"{who}. Wait for its end"), workspace_lock.acquire(Project(), "second", False, print):
        pass
    start, told = time.monotonic(), []
    holder.kill()  # outright, and what it started lives on
    holder.wait()
    with workspace_lock.acquire(Project(), "second", True, told.append):
        assert 1 < time.monotonic() - start < 30
    assert len(told) == 1
    assert told[0].endswith("waiting for its end")
    with workspace_lock.acquire(Project(), "third", False, print):  # nothing stale is left
        pass


ENLARGER = """
import pathlib, time
from pipelines.infra import workspace_lock
from srgan.config.project import Project
with workspace_lock.acquire(Project(), "enlarging", True, print, "its-id", results=pathlib.Path("big")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_of_results_is_for_one_run_and_a_killed_one_is_found(folder):
    (folder / "dvc.yaml").touch()
    enlarger = subprocess.Popen([sys.executable, "-c", ENLARGER], stdout=subprocess.PIPE, text=True, env=environment(), cwd=folder)
    assert enlarger.stdout.readline() == "held\n"
    told = f"{folder}/big is in use by the run 'enlarging' .*. Wait for its end, or name another folder"
    with pytest.raises(workspace_lock.Busy, match=told), workspace_lock.acquire(Project(), "second", False, print, results=folder / "big"):
        pass
    with (
        workspace_lock.acquire(Project(), "training", False, print),
        workspace_lock.acquire(Project(), "another", False, print, results=folder / "other"),
    ):
        pass
    left = []
    workspace_lock.report_killed(Project(), left.append)
    assert left == []
    enlarger.kill()
    enlarger.wait()
    workspace_lock.report_killed(Project(), left.append)
    workspace_lock.report_killed(Project(), left.append)  # told once
    assert left == ["its-id"]


def test_another_folder_is_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SrganError, match="Run this in the project's folder"), workspace_lock.acquire(Project.open(), "run", True, print):
        pass


# -- processes -------------------------------------------------------------------------------------------------------------

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(100)"


@pytest.mark.parametrize("end", ["terminated", "orphaned", "leader killed"])
def test_the_guard_ends_the_whole_group(end, monkeypatch):
    """A shell and a process that ignores SIGTERM: stopped by a signal, by the death of who asked, by the death of the shell alone."""
    guarded = "from pipelines.infra import process_guard; import subprocess, sys; subprocess.run(process_guard.command(1.0, *sys.argv[1:]))"
    shell = f'{sys.executable} -c "{STUBBORN}" & echo $!; wait'
    process = subprocess.Popen([sys.executable, "-c", guarded, "sh", "-c", shell], stdout=subprocess.PIPE, text=True, env=environment())
    lines = [process.stdout.readline(), process.stdout.readline()]
    (child,) = [psutil.Process(int(line)) for line in lines if line.strip().isdecimal()]
    leader, (guard,) = child.parent(), psutil.Process(process.pid).children()
    victim = {"terminated": guard, "orphaned": psutil.Process(process.pid), "leader killed": leader}[end]
    victim.send_signal(signal.SIGTERM if end == "terminated" else signal.SIGKILL)
    _, alive = psutil.wait_procs([child, leader, guard], timeout=20)
    assert alive == []
    assert process.wait(20) == (-9 if end == "orphaned" else 0)


def start(command, folder, **env):
    return subprocess.Popen(
        command, cwd=folder, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "checkpoints" / "pretrain").glob("step-*5?.pt"))


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "shell"), [("flow", "/bin/bash"), ("dvc", "/bin/sh")])
def test_stopping_leaves_no_process_behind_and_the_next_run_goes_on(copy_of_project, tmp_path, monkeypatch, victim, shell):
    """Either the flow (with the server that Prefect starts by itself) gets SIGTERM, or `dvc` alone is killed outright.

    The trainer must end, with a checkpoint. DVC runs commands by $SHELL. Some shells stay as the trainer's parent (dash), others become
    the trainer (bash).
    """
    monkeypatch.setenv("SHELL", shell)
    write_params(copy_of_project, LONG)
    flow = [sys.executable, "-m", "pipelines.train"]
    command = flow if victim == "flow" else [Path(sys.executable).parent / "dvc", "repro", "pretrain"]
    process = start(command, copy_of_project, PREFECT_HOME=str(tmp_path / "prefect"))
    wait_for(lambda: checkpoints(copy_of_project) or process.poll() is not None)
    process.send_signal(signal.SIGTERM if victim == "flow" else signal.SIGKILL)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == (143 if victim == "flow" else -9), output
    wait_for(lambda: not processes_in(copy_of_project))
    assert "continues from the checkpoint" in output, output
    if victim == "flow":
        for stage in STAGES[:2]:
            assert f"Task run '{stage}' - Finished in state Cached" in output, output
    assert max(int(path.stem[5:]) for path in (copy_of_project / "checkpoints" / "pretrain").glob("step-*.pt")) >= 50
