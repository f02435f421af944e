"""Studies of real processes, which are killed."""

import re
import signal
from collections import Counter

import mlflow
import numpy as np
import pytest
from optuna.trial import TrialState
from PIL import Image

from srgan.config.project import Project
from srgan.tracking.store import tracking_uri
from srgan.tuning import results
from tests.helpers.commands import start, wait_for
from tests.helpers.project import write_params

STUDY = """\
trials: 5
objective: psnr_y
validations: 3
space:
  pretrain.learning_rate: {log: [1.0e-4, 1.0e-2]}
"""
ENDED = ": kept the averaged weights"  # a line of the log of a training
WAIT = 1200  # seconds on a machine with other work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def make_project(tmp_path):
    """Return a function that makes a project of six random images and a study `tiny`, whose trainings take some seconds."""

    def make(name):
        root = tmp_path / name
        (root / "photos").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number in range(6):
            Image.fromarray(rng.integers(0, 255, (64, 72, 3), dtype=np.uint8)).save(root / "photos" / f"{number}.png")
        changes = {"data.train": ["photos"], "data.test": [], "prepare.test": 0.3, "model.features": 4, "pretrain.steps": 300}
        write_params(root, changes | {"runtime.pretrain.checkpoint_every": 20})
        (root / "tiny.yaml").write_text(STUDY)
        return Project(root)

    return make


def tune(project):
    """Start a worker."""
    return start("srgan", "tune", "tiny.yaml", cwd=project.root)


def checkpointed(project, number):
    """Return whether a trial has a checkpoint."""
    return any((project.root / "studies/tiny/trials" / f"{number:04}" / "checkpoints").glob("pretrain/*.pt"))


def outcome(study):
    """What must not depend on a kill."""
    return [(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values) for trial in study.trials()]


def finished(process):
    """Return the output of a worker that ends well."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output + errors


def test_a_study_killed_twice_ends_with_the_trials_of_an_undisturbed_one(make_project):
    undisturbed, killed = make_project("undisturbed"), make_project("killed")
    finished(tune(undisturbed))
    for number in (1, 3):
        process = tune(killed)
        wait_for(lambda number=number: checkpointed(killed, number), WAIT)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished(tune(killed))
    studies = [results.open_study("tiny", project) for project in (undisturbed, killed)]
    assert outcome(studies[0]) == outcome(studies[1])
    assert len(studies[1].trials()) == 5


def test_two_workers_share_a_study_and_one_finishes_the_trial_of_the_other_that_is_killed(make_project):
    project = make_project("shared")
    first = tune(project)
    wait_for(lambda: checkpointed(project, 0), WAIT)  # so that the first one has the first trial
    second = tune(project)
    wait_for(lambda: checkpointed(project, 1) or checkpointed(project, 2), WAIT)
    study = results.open_study("tiny", project)
    second.send_signal(signal.SIGKILL)
    lines = "".join(second.communicate())
    interrupted = {*re.findall(r"^trial (\d+): pretrain", lines, re.M)} - {*re.findall(r"^trial (\d+): (?:[\d.]+|pruned)$", lines, re.M)}
    assert len(interrupted) == 1

    output = finished(first)
    trials = study.trials()
    assert [trial.number for trial in trials] == list(range(5))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert f"trial {interrupted.pop()}: pretrain.learning_rate" in output
    complete = [trial.number for trial in trials if trial.state == TrialState.COMPLETE]
    logs = {number: (study.trial_project(number).root / "log.txt").read_text() for number in complete}
    assert {number: log.count(ENDED) for number, log in logs.items()} == dict.fromkeys(complete, 1)

    client = mlflow.MlflowClient(tracking_uri(project))
    runs = client.search_runs([client.get_experiment_by_name("srgan").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "study tiny"]
    children = Counter(run.data.tags.get("mlflow.parentRunId") for run in runs if run is not parent)
    assert children == {parent.info.run_id: len(trials)}
    assert parent.info.status == "FINISHED"
