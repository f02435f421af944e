"""Going on with a training: more steps, another rate or schedule, from the last state of the one before."""

import json
import os
import shutil
import signal

import pandas as pd
import pytest

from srgan.config import schema
from srgan.models.weights_file import read_metadata
from srgan.training import checkpoint
from srgan.training.checkpoint import Checkpoints
from srgan.training.logger import SilentLog, TrainingLog
from srgan.training.trainer import Interrupted
from tests.helpers.commands import run
from tests.helpers.project import write_params
from tests.stages.test_pipeline import ran
from tests.training.test_trainer import equal, poison, settled, trainer, world  # noqa: F401 - fixtures


def rows(project, stage):
    return pd.read_csv(project / "reports" / f"{stage}.csv")


def final(project, stage):
    (state,) = [state for state in checkpoint.states(project / "checkpoints" / stage) if state.path.name == "final.pt"]
    return state


@pytest.mark.parametrize(
    ("stage", "target"),
    [
        ("pretrain", "pretrain"),
        pytest.param("pretrain", "export", marks=pytest.mark.slow),
        pytest.param("train", "export", marks=pytest.mark.slow),
    ],
)
def test_a_finished_training_goes_on_with_more_steps_and_another_rate(copy_of_project, stage, target):
    before, state = rows(copy_of_project, stage), final(copy_of_project, stage)
    changes = {f"{stage}.steps": 9, f"{stage}.learning_rate": 0.5e-3}
    text = write_params(copy_of_project, changes).read_text()
    told = run("srgan", stage, "--continue", cwd=copy_of_project).stdout
    former = "0.0001" if stage == "pretrain" else "0.0004"
    for line in (f"{stage}.steps: 6 -> 9", f"{stage}.learning_rate: {former} -> 0.0005", f"{stage}.continue_from: none -> {state.name}"):
        assert line in told
    changed = set((copy_of_project / "params.yaml").read_text().splitlines()) - set(text.splitlines())
    assert changed == {f"  continue_from: {state.name}"}  # nothing else is touched
    done = run("dvc", "repro", target, cwd=copy_of_project)
    order = ["pretrain", "train", "export"]
    assert ran(done.stdout) == order[order.index(stage) : order.index(target) + 1]
    assert f"{stage}: resumes after step 6\n" in done.stderr
    curve = rows(copy_of_project, stage)
    assert list(curve["step"]) == [2, 4, 6, 8, 9]  # both parts
    pd.testing.assert_frame_equal(curve[:3], before)
    assert curve["learning_rate"].iloc[-1] <= 0.5e-3
    # Nothing is trained a second time; if it has to be, from the state on.
    assert ran(run("dvc", "repro", target, cwd=copy_of_project).stdout) == []
    out = copy_of_project / "models" / {"pretrain": "pretrained", "train": "generator"}[stage]
    weights = out.with_suffix(".safetensors").read_bytes()
    done = run("srgan", stage, cwd=copy_of_project)
    assert f"{stage}: resumes after step 6\n" in done.stderr
    assert out.with_suffix(".safetensors").read_bytes() == weights
    # The lineage is in the weights, also in those of the stage that starts from them.
    written = {"pretrain": "models/pretrained.safetensors", "train": "models/generator.safetensors"}
    for name in {written[stage], written["train" if target == "export" else stage]}:
        (entry,) = json.loads(read_metadata(copy_of_project / name, stage)["sr.continued_from"])
        assert (entry["stage"], entry["state"], entry["training"]) == (stage, state.name, state.about["training"])
        assert entry["changes"]["steps"] == [6, 9]


def test_what_cannot_go_on_says_why_before_it_trains(copy_of_project):
    def refused(changes, *arguments):
        write_params(copy_of_project, changes)
        before = (copy_of_project / "params.yaml").read_text()
        done = run("srgan", "pretrain", *arguments, cwd=copy_of_project, check=False)
        assert done.returncode == 1
        assert (copy_of_project / "params.yaml").read_text() == before
        return done.stderr

    assert "no option in params.yaml differs" in refused({}, "--continue")
    assert "is at step 6 already: raise pretrain.steps (is 5)" in refused({"pretrain.steps": 5}, "--continue")
    assert "is of another network (model.features 8 -> 16)" in refused({"pretrain.steps": 9, "model.features": 16}, "--continue")
    assert f"no state abc to continue from. Other states: {final(copy_of_project, 'pretrain').name}" in refused(
        {"pretrain.steps": 9}, "--continue", "abc"
    )
    gone = {"pretrain.steps": 9, "pretrain.continue_from": f"{'0' * 12}@6"}
    told = refused(gone)
    assert f"pretrain.continue_from: no state {'0' * 12}@6 in checkpoints/pretrain" in told
    assert f"copy the file to checkpoints/pretrain/set-aside/{'0' * 12}/step-00000006.pt" in told
    assert "must be none, or RUN@STEP" in refused({"pretrain.continue_from": "last"})


def fit_part(place, state, subject, stop=0):
    """Train the part that goes on from `state`, to its end or until it is told to stop during a step."""
    step = subject.step
    subject.step = lambda number: (os.kill(os.getpid(), signal.SIGTERM) if number == stop else None, step(number))
    log = TrainingLog(place.with_suffix(".csv"), subject.options.steps, "pretrain", place / "pictures")
    about = {"lineage": [], "options": {}, "inputs": [], "training": "t"}
    with Checkpoints(place, "b" * 64, subject.runtime.checkpoint_every, about, state.name) as checkpoints:
        return subject.fit(log, checkpoints)


def test_a_part_that_was_interrupted_or_diverged_goes_on_from_its_own_states(world, settled, caplog):  # noqa: F811
    changes = {"pretrain.steps": 10, "runtime.pretrain.log_every": 5, "runtime.pretrain.checkpoint_every": 4}
    with pytest.raises(Interrupted), Checkpoints(world[0] / "first", "a" * 64, 4, {"lineage": [], "training": "t"}) as checkpoints:
        subject = trainer(world, "pretrain", changes)
        step = subject.step
        subject.step = lambda number: (os.kill(os.getpid(), signal.SIGTERM) if number == 5 else None, step(number))
        subject.fit(SilentLog(), checkpoints)
    *_, state = checkpoint.states(world[0] / "first")
    assert state.name == f"{'a' * 12}@5"
    changes |= {"pretrain.steps": 14, "pretrain.losses": [{"name": "mse"}]}  # another scale of losses is no divergence
    places = {name: world[0] / name for name in ("straight", "broken", "diverged")}
    for place in places.values():
        place.mkdir()
        shutil.copy(state.path, place / "final.pt")
    expected = fit_part(places["straight"], state, trainer(world, "pretrain", changes))
    assert "diverged" not in caplog.text
    with pytest.raises(Interrupted):
        fit_part(places["broken"], state, trainer(world, "pretrain", changes), stop=9)
    (places["broken"] / "final.pt").unlink()
    assert equal(fit_part(places["broken"], state, trainer(world, "pretrain", changes)), expected)
    assert places["broken"].with_suffix(".csv").read_bytes() == places["straight"].with_suffix(".csv").read_bytes()
    fit_part(places["diverged"], state, poison(trainer(world, "pretrain", changes), 6, times=1))
    assert "diverged at step 7: back to the checkpoint of step 5, with 0.5 of the learning rate" in caplog.text


def test_the_state_that_the_parameters_name_is_kept(tmp_path):
    about = {"lineage": [], "training": "t"}
    for number in range(checkpoint.MAX_RUNS + 3):  # each goes on from the first
        origin = f"{'0' * 12}@1" if number else "none"
        with Checkpoints(tmp_path, f"{number}" * 64, 1, about, origin) as checkpoints:
            assert checkpoints.resume(lambda state: None) == (1 if number else 0)
            checkpoints.save(1 + number, {})
            if number % 2 == 0:
                checkpoints.finish()
    assert (tmp_path / "set-aside" / ("0" * 12) / "step-00000001.pt").is_file()


def test_a_file_without_a_key_that_dvc_reads_is_refused_before_the_stage_runs(copy_of_project):
    path = copy_of_project / "params.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("  pretrained:")))
    assert schema.load(path).pretrain.pretrained == "scratch"
    run("srgan", "data", "licence", cwd=copy_of_project)
    done = run("dvc", "repro", "-sf", "export", cwd=copy_of_project, check=False)
    assert "params.yaml: DVC needs pretrain.pretrained in the file. Add the missing options with: srgan params update" in done.stderr


@pytest.mark.parametrize("start", ["models/pretrained.safetensors", "./models/generator.safetensors", "link.safetensors"])
def test_weights_that_dvc_would_delete_are_no_start(copy_of_project, start):
    (copy_of_project / "link.safetensors").symlink_to("models/pretrained.safetensors")
    out = copy_of_project / "models" / "pretrained.safetensors"
    content = out.read_bytes()
    write_params(copy_of_project, {"pretrain.pretrained": start})
    command = ("dvc", "repro") if start.startswith("models/pre") else ("srgan", "plan")
    done = run(*command, cwd=copy_of_project, check=False)
    assert done.returncode != 0
    assert (
        "pretrain.pretrained: the pipeline writes this file, and DVC deletes it before the stage runs. Copy it to another folder"
        in done.stderr
    )
    assert out.read_bytes() == content


@pytest.mark.slow
def test_a_copy_of_weights_that_dvc_would_delete_is_a_start(copy_of_project):
    (copy_of_project / "own").mkdir()
    shutil.copy(copy_of_project / "models" / "pretrained.safetensors", copy_of_project / "own" / "start.safetensors")
    write_params(copy_of_project, {"pretrain.pretrained": "own/start.safetensors"})
    assert "pretrain: starts from own/start.safetensors" in run("dvc", "repro", "pretrain", cwd=copy_of_project).stderr
