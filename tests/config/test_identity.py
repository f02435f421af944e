"""A new option with a neutral default changes no digest: the same key, the same checkpoint, no stage that runs again."""

import json
import logging

import pytest

from srgan.config import schema
from srgan.config.base import option, section
from srgan.config.networks import Model
from srgan.config.project import Project
from srgan.config.training import Pretrain
from srgan.models.compact import CompactConfig
from srgan.models.registry import NETWORKS
from srgan.stages.pretrain import run as pretrain
from srgan.tracking.training_record import current_training
from srgan.training.trainer import Trainer
from tests.helpers.commands import run
from tests.helpers.project import write_params


class GrownPretrain(Pretrain):
    """The stage with an option that a later version has."""

    sparkle: float = option(0.0, "amount of sparkle; 0 turns it off", ge=0)


class GrownParams(schema.Params):
    """The file of a later version."""

    model: Model = option({"name": "compact"}, "generator")
    pretrain: GrownPretrain = section(GrownPretrain, "first stage")


class GrownCompact(CompactConfig):
    """A network with an option that a later version has."""

    attention: bool = option(False, "use attention")


def grow(monkeypatch):
    monkeypatch.setattr(schema, "Params", GrownParams)
    entry = NETWORKS["compact"]
    monkeypatch.setitem(NETWORKS, "compact", type(entry)(**{**vars(entry), "config": GrownCompact, "factory": grown_factory(entry)}))


def grown_factory(entry):
    return lambda attention=False, **options: entry.factory(**options)


def test_identities_leave_out_defaults_and_how_a_training_runs(monkeypatch, tmp_path):
    path = write_params(tmp_path)
    before = schema.load(path)
    assert "runtime" not in schema.identity(before)
    assert schema.identity(before)["pretrain"]["steps"] == 6
    assert not {"compile", "optimizer"} & schema.identity(before)["pretrain"].keys()
    grow(monkeypatch)
    after = schema.load(path)
    assert (after.pretrain.sparkle, after.model.attention) == (0.0, False)
    assert schema.identity(after) == schema.identity(before)
    path.write_text(path.read_text().replace("pretrain:\n", "pretrain:\n  sparkle: 0.5\n", 1))
    assert schema.identity(schema.load(path))["pretrain"]["sparkle"] == 0.5


def test_a_neutral_option_keeps_the_key_the_checkpoint_and_what_dvc_has_recorded(copy_of_project, monkeypatch, caplog):
    project = Project(copy_of_project)
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(copy_of_project)
    key = current_training(project, schema.load("params.yaml"), "pretrain").key
    changes = {"pretrain.steps": 8, "runtime.pretrain.checkpoint_every": 2}
    write_params(copy_of_project, changes)
    step = Trainer.step

    def killed(self, number):
        if number == 5:
            raise KeyboardInterrupt
        step(self, number)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "step", killed)
        pretrain(project, schema.load("params.yaml"))
    grow(monkeypatch)
    caplog.clear()
    pretrain(project, schema.load("params.yaml"))
    assert "pretrain: resumes after step 4" in caplog.text
    write_params(copy_of_project)
    assert current_training(project, schema.load("params.yaml"), "pretrain").key == key
    run("dvc", "checkout", "-f", cwd=copy_of_project)
    assert set(json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout)) <= {"register"}
