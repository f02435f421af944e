"""The Prefect flow on a real project, with the temporary server that Prefect starts by itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import ROOT, environment, write_params
from pipelines import stages

STAGES = ["download", "prepare", "pretrain", "train", "export", "evaluate", "report", "register"]


def test_the_graph_is_dvcs_own(project):
    graph = stages.graph(project)
    assert list(graph) == STAGES
    assert graph["download"] == []
    assert graph["train"] == ["prepare", "pretrain"]
    assert "export" in graph["evaluate"]


def start(command, folder, **env):
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_flow(folder, tmp_path):
    return start([sys.executable, "-m", "pipelines.train"], folder, PREFECT_HOME=str(tmp_path / "prefect"))


def test_the_flow_runs_what_changed_and_shows_the_rest_as_cached(copy_of_project, tmp_path):
    write_params(copy_of_project, {"register.alias": "other"})
    process = start_flow(copy_of_project, tmp_path)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    for stage in STAGES:
        state = "Completed" if stage == "register" else "Cached"
        assert f"Task run '{stage}' - Finished in state {state}" in output, output
    assert "has the alias other" in output  # what the stage itself said


def test_a_failing_stage_fails_the_flow_and_says_why(copy_of_project, tmp_path):
    path = copy_of_project / "params.yaml"
    path.write_text(path.read_text().replace("- sample", "- smaple", 1))
    process = start_flow(copy_of_project, tmp_path)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "smaple" in output
    assert "did you mean sample?" in output
    assert "pipelines/stages.py" not in output  # no traceback through our code
    assert "Task run 'download' - Finished in state Failed" in output
    assert "the stages before it are kept" in output


def descendants(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.parametrize(("victim", "shell"), [("flow", "/bin/bash"), ("dvc", "/bin/sh")])
def test_stopping_leaves_no_process_behind_and_the_next_run_goes_on(copy_of_project, tmp_path, monkeypatch, victim, shell):
    """Either the flow gets SIGTERM, or `dvc` alone is killed outright: the trainer must end, with a checkpoint.

    DVC runs commands by $SHELL. Some shells stay as the trainer's parent (dash), others become the trainer (bash).
    """
    monkeypatch.setenv("SHELL", shell)
    changes = {"steps": 100_000, "log_every": 1000, "checkpoint_every": 50, "validate_every": 100_000}
    write_params(copy_of_project, {f"pretrain.{key}": value for key, value in changes.items()})
    if victim == "flow":
        process = start_flow(copy_of_project, tmp_path)
    else:
        process = start([Path(sys.executable).parent / "dvc", "repro", "pretrain"], copy_of_project)
    folder = copy_of_project / "checkpoints" / "pretrain"
    end = time.monotonic() + 90
    while not list(folder.glob("step-*5?.pt")):
        assert time.monotonic() < end
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM if victim == "flow" else signal.SIGKILL)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == (143 if victim == "flow" else -9)
    end = time.monotonic() + 30
    while left := descendants(copy_of_project):
        assert time.monotonic() < end, [p.cmdline() for p in left]
        time.sleep(0.2)
    assert "goes on from the checkpoint" in output, output
    assert max(int(path.stem[5:]) for path in folder.glob("step-*.pt")) >= 50
