"""Studies of tiny trainings. Stages run in this process, since a new one takes seconds to import PyTorch."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from optuna.trial import TrialState
from PIL import Image

from srgan.config import schema
from srgan.config.project import Project
from srgan.tuning import child, page, results, run, trial
from srgan.tuning.lock import try_lock
from srgan.tuning.run import tune
from srgan.tuning.study import Study
from srgan.tuning.study_file import load_study
from srgan.utils.errors import SrganError
from tests.helpers.commands import run as command
from tests.helpers.project import ROOT, write_params

SMALL = {
    "data.train": ["photos"],
    "data.test": [],
    "prepare.test": 0.3,
    "model.features": 4,
    "pretrain.steps": 4,
    "train.steps": 6,
}
PIXELS = """\
trials: 4
objective: psnr_y
validations: 2
space:
  pretrain.learning_rate: {log: [1.0e-4, 1.0e-2]}
  pretrain.batch_size: [1, 2]
"""


class Ended:
    """A stage that ran in this process."""

    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code


def start_here(stage, project, lock, environment, run=""):
    try:
        child.run_here(stage, project, schema.load(project.params))
    except SrganError as error:
        (project.root / child.LOG).write_text(f"error: {error}\n")
        return Ended(1)
    return Ended(0)


def make_project(root, patch):
    """A project of six random images, whose stages run in this process."""
    (root / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (64, 72, 3), dtype=np.uint8)).save(root / "photos" / f"{number}.png")
    write_params(root, SMALL)
    patch.setattr(child, "start", start_here)
    patch.setattr(run, "_mlflow", lambda study: ("", {}))
    return Project(root)


@pytest.fixture
def project(tmp_path, monkeypatch):
    return make_project(tmp_path / "project", monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that has run. Tests do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        project = make_project(tmp_path_factory.mktemp("finished") / "project", patch)
        return tune(study_file(project), project)


def study_file(project, text=PIXELS, name="pixels"):
    path = project.root / f"{name}.yaml"
    path.write_text(text)
    return path


def outcome(study):
    """What must not depend on an interruption."""
    return [(each.number, each.state, each.params, each.values, each.intermediate_values) for each in study.trials()]


def test_a_study_tries_the_base_first_and_ranks_the_trials(finished):
    study = finished
    trials = study.trials()
    assert [each.number for each in trials] == [0, 1, 2, 3]
    assert trials[0].params == {"pretrain.learning_rate": 1.0e-4, "pretrain.batch_size": "2"}
    best = results.ranked(study)
    assert best[0].value == max(each.value for each in trials if each.state == TrialState.COMPLETE)
    for each in trials:
        params = schema.load(study.trial_project(each.number).params)
        assert params.pretrain.learning_rate == each.params["pretrain.learning_rate"]
        assert str(params.pretrain.batch_size) == each.params["pretrain.batch_size"]
        assert study.trial_project(each.number).prepared.resolve() == study.data.prepared.resolve()
    text = page.write(study).read_text()
    for part in ("History", "Parallel coordinates", "Pictures of the best trials", "data:image/png;base64,", "<svg"):
        assert part in text
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace("http://creativecommons.org", "")
    assert f"trial {best[0].number}" in results.describe(study) or best[0].number == 0


def test_an_interrupted_study_ends_as_an_undisturbed_one(finished, project, monkeypatch):
    file = study_file(project, name="killed")
    killed = iter([False, False, True, False, True])

    class Killed(BaseException):
        pass

    def start(stage, *arguments):
        if stage == "pretrain" and next(killed, False):
            raise Killed
        return start_here(stage, *arguments)

    monkeypatch.setattr(child, "start", start)
    for _ in range(2):
        with pytest.raises(Killed):
            tune(file, project)
    # Equal seeds and histories give equal proposals, whatever the name of the study. Pruning depends on the name.
    study = tune(file, project)
    assert [each[2] for each in outcome(study)] == [each[2] for each in outcome(finished)]
    assert len(outcome(study)) == 4


def test_a_trial_of_a_dead_process_is_run_again_under_its_number(project):
    definition = load_study(study_file(project), project)
    code = (
        "import os, signal, sys; from contextlib import ExitStack; from pathlib import Path\n"
        "from srgan.config.project import Project; from srgan.tuning.study import Study; from srgan.tuning.study_file import load_study\n"
        "project = Project(Path(sys.argv[1])); study = Study(project, load_study(project.root / 'pixels.yaml', project))\n"
        "study.claim(ExitStack()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, project.root], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    study = Study(project, definition)
    assert [each.state for each in study.trials()] == [TrialState.RUNNING]
    with ExitStack() as held:
        claimed = study.claim(held)
        assert claimed.number == 0
        assert len(study.trials()) == 1
        with try_lock(study.trial_project(0).root / "lock") as other:
            assert other is None


@pytest.mark.slow
def test_two_workers_share_the_trials(project):
    study = tune(study_file(project, PIXELS.replace("pixels", "two")), project, workers=1)
    assert all(each.state.is_finished() for each in study.trials())
    with ExitStack() as one, ExitStack() as two:
        more = load_study(study_file(project, PIXELS.replace("trials: 4", "trials: 6")), project)
        first, second = Study(project, more), Study(project, more)
        claims = [first.claim(one), second.claim(two)]
        assert [claimed.number for claimed in claims] == [4, 5]
        assert first.trials()[4].params != first.trials()[5].params
        with ExitStack() as three:
            assert Study(project, more).claim(three) is None


def test_a_trial_that_is_behind_is_pruned(project, monkeypatch):
    monkeypatch.setattr(Study, "report", lambda self, claimed, number, value: claimed.number == 1)
    study = tune(study_file(project, PIXELS.replace("trials: 4", "trials: 3")), project)
    assert [each.state for each in study.trials()] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert 1 not in [each.number for each in results.ranked(study)]


def test_hyperband_prunes_by_validations(project):
    study = Study(project, load_study(study_file(project, PIXELS.replace("validations: 2", "validations: 9")), project))
    decisions = []
    for number in range(24):
        with ExitStack() as held:
            study.set_reference({"step": 0.0})
            study_trials = len(study.trials())
            assert study_trials == number
            if number == 4:
                break
            claimed = study.claim(held)
            decisions.append([study.report(claimed, step, 30.0 - number) for step in range(1, 9)])
            study.finish(claimed, TrialState.COMPLETE, [30.0 - number])
    assert not any(decisions[0])  # the base is never pruned
    assert any(any(each) for each in decisions[1:])


@pytest.mark.slow
def test_a_failed_trial_does_not_end_the_study_but_a_failed_base_does(project, monkeypatch):
    def start(stage, folder, *arguments):
        if folder.root.name in failing:
            (folder.root / child.LOG).write_text("error: out of memory\n")
            return Ended(1)
        return start_here(stage, folder, *arguments)

    monkeypatch.setattr(child, "start", start)
    failing = {"0001"}
    study = tune(study_file(project), project)
    assert study.trials()[1].state == TrialState.FAIL
    assert "out of memory" in study.trials()[1].user_attrs["error"]
    assert study.is_complete()
    failing = {"0000"}
    with pytest.raises(SrganError, match="the base parameters failed: pretrain: out of memory"):
        tune(study_file(project, name="other"), project)


def test_a_study_of_an_older_version_continues(project):
    definition = load_study(study_file(project), project)
    record = Study(project, definition).root / "study.json"
    older = json.loads(record.read_text())
    assert older["base"]["pretrain"].pop("anchor") == 0.0
    record.write_text(json.dumps(older))
    assert Study(project, definition).trials() == []
    older["base"]["pretrain"]["steps"] += 1
    record.write_text(json.dumps(older))
    with pytest.raises(SrganError, match=r"base\.pretrain.steps"):
        Study(project, definition)
    older["base"]["pretrain"] = {"gone": 1}
    record.write_text(json.dumps(older))
    with pytest.raises(SrganError, match=r"base\.pretrain"):
        Study(project, definition)


def test_other_settings_need_another_name(project):
    file = study_file(project)
    Study(project, load_study(file, project))
    file.write_text(PIXELS.replace("1.0e-2", "2.0e-2"))
    with pytest.raises(SrganError, match=r"holds a study of other settings \(options.space.pretrain.learning_rate.log\)"):
        Study(project, load_study(file, project))


def test_the_winner_goes_into_the_parameter_file(finished, tmp_path):
    project = Project(shutil.copytree(finished.project.root, tmp_path / "project", symlinks=True))
    before = project.params.read_text()
    project.params.write_text(before + "# mine\n")
    text = command("srgan", "tune", "apply", "pixels", "--trial", "2", cwd=project.root).stdout
    params = schema.load(project.params)
    assert params.pretrain.learning_rate == finished.trials()[2].params["pretrain.learning_rate"]
    assert "params.yaml.bak" in text
    assert project.params.with_name("params.yaml.bak").read_text() == before + "# mine\n"
    assert "# mine" in project.params.read_text()
    assert "trial" in command("srgan", "tune", "show", "pixels", cwd=project.root).stdout
    failed = command("srgan", "tune", "apply", "pixels", "--trial", "9", cwd=project.root, check=False)
    assert failed.returncode == 1
    assert "--trial 9: the study has the trials 0 to 3" in failed.stderr


def test_a_stop_ends_the_training_and_keeps_the_trial(project, monkeypatch):
    class Training:
        code, terminated = None, False

        def poll(self):
            return self.code

        def terminate(self):
            self.terminated, self.code = True, 143

        def wait(self, seconds):
            return self.code

    training, stop = Training(), Event()
    study = Study(project, load_study(study_file(project), project))
    worker = trial.Worker(study, stop)
    worker.prepare()
    monkeypatch.setattr(child, "start", lambda *arguments: training)
    stop.set()
    with ExitStack() as held, pytest.raises(trial.Stopped):
        worker.trial(study.claim(held))
    assert training.terminated
    assert study.trials()[0].state == TrialState.RUNNING


def test_the_gan_stage_shares_its_pixel_stage(project, mirror):
    write_params(project.root, SMALL | {"train.lpips": True})
    text = "trials: 2\nvalidations: 2\n"
    text += "space:\n  train.learning_rate: [4.0e-4, 1.0e-4]\n  train.losses.relativistic.weight: {range: [0, 0.1]}\n"
    study = tune(study_file(project, text), project)
    assert len(list((study.root / "pretrained").iterdir())) == 1
    assert all(each.values and each.values[0] > 0 for each in study.trials() if each.state == TrialState.COMPLETE)
    assert Path(study.trial_project(0).generator).is_file()
