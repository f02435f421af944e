"""Early stop: a training ends when its validations get no better."""

# ruff: noqa: F811 - fixtures of another file
import torch

from srgan.training.model_selection import ModelSelection
from tests.training.test_trainer import equal_states, go, trainer, weights, world  # noqa: F401 - fixtures

CHANGES = {"pretrain.steps": 12, "pretrain.patience": 4, "runtime.pretrain.validate_every": 2}


def scored(subject, psnrs):
    """Give the validations of a trainer these scores."""
    score, values = subject.score, iter(psnrs)

    def found(validation):
        scores = score(validation)()[0] | {"val_psnr_y": next(values)}
        return lambda: (scores, [])

    subject.score = found


def test_the_training_ends_when_the_patience_is_over(world):
    subject = trainer(world, "pretrain", CHANGES)
    scored(subject, [0.0, 10.0, 12.0, 11.0, 11.0])  # rehearsal, steps 0, 2, 4, 6
    go(subject, world[0] / "x")
    assert [row["step"] for row in subject.scores] == [0, 2, 4, 6]
    assert subject.selection.best["step"] == 2


def test_a_training_that_gets_worse_returns_its_start(world):
    subject = trainer(world, "pretrain", CHANGES)
    start = weights(subject.generator)
    scored(subject, [0.0, 10.0, 9.0, 8.0])
    model = go(subject, world[0] / "x")
    assert subject.scores[-1]["step"] == 4
    assert equal_states(model.state_dict().values(), start)


def test_a_training_that_ended_early_does_not_go_on(world):
    first = trainer(world, "pretrain", CHANGES)
    scored(first, [0.0, 10.0, 12.0, 11.0, 11.0])
    expected = go(first, world[0] / "x")
    second = trainer(world, "pretrain", CHANGES)
    scored(second, [11.0] * 9)
    again = go(second, world[0] / "x")
    assert second.scores[-1]["step"] == 6
    assert equal_states(again.state_dict().values(), expected.state_dict().values())


def test_without_patience_the_start_is_no_candidate():
    row = {"step": 0, "val_psnr_y": 9.0}
    for patience, best in ((0, None), (4, 0)):
        selection = ModelSelection("PSNR", patience=patience)
        selection.offer(row, row, {"w": torch.zeros(1)}, lambda weights: row)
        assert (selection.best and selection.best["step"]) == best
        assert not selection.is_over([row])
