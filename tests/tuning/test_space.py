"""The search space and the study file."""

import pytest

from srgan.config.project import Project
from srgan.tuning import proposals, space
from srgan.tuning.study_file import load_study
from srgan.utils.errors import SrganError
from tests.helpers.project import base_params, write_params


@pytest.fixture
def project(tmp_path):
    write_params(tmp_path)
    return Project(tmp_path)


def read(project, text):
    path = project.root / "s.yaml"
    path.write_text(text)
    return load_study(path, project)


@pytest.mark.parametrize(("line", "message"), [
    ("train.learning_rte: {log: [1.0e-4, 1.0e-3]}", "unknown option 'learning_rte'; did you mean learning_rate"),
    ("train.losses.relativistik.weight: [0.1, 0.2]", "no item 'relativistik' in this list; did you mean relativistic"),
    ("model.depth: [2, -1]", "must be at least 0 (is -1)"),
    ("export.name: [a, b]", "'export' cannot be searched, only options of model, pretrain, train"),
    ("train.batch_size: {range: [4, 2]}", "needs two numbers, the lower one first"),
    ("train.ema: {log: [0.9, 1.5]}", "must be below 1 (is 1.5)"),
    ("train.learning_rate: {log: [0, 1]}", "a log range must begin above 0"),
    ("train.seed: 3", "must be a list such as"),
    ("train.seed: [3]", "needs at least two values"),
    ("train.seed: [3, 3]", "has 3 twice"),
    ("train.seed: {range: [1, 2], step: 1}", "unknown: step"),
])  # fmt: skip
def test_an_error_names_its_line(project, line, message):
    with pytest.raises(SrganError) as error:
        read(project, f"trials: 3\nset: {{train.lpips: true}}\nspace:\n  {line}\n")
    assert f"s.yaml:4: space.{line.split(': ')[0]}: " in str(error.value)
    assert message in str(error.value)


def test_all_errors_are_shown_at_once(project):
    with pytest.raises(SrganError) as error:
        read(project, "set: {prepare.scal: 4}\nobjective: psnr_y\nspace:\n  train.seed: [1, 2]\n  model.dept: [1, 2]\n")
    assert "s.yaml:1: set.prepare.scal: unknown option 'scal'; did you mean scale" in str(error.value)
    assert "s.yaml:2: objective: psnr_y trains the pixel stage only, for which train.seed has no effect" in str(error.value)
    assert "s.yaml:5: space.model.dept: unknown option" in str(error.value)
    with pytest.raises(SrganError, match=r"s.yaml:1: trails: unknown option; did you mean trials\?"):
        read(project, "trails: 3\nspace: {model.depth: [1, 2]}\n")


def test_a_grid_needs_the_number_of_points(project):
    text = "sampler: grid\nobjective: psnr_y\nspace:\n  pretrain.learning_rate: {log: [1.0e-4, 1.0e-2]%s}\n  model.depth: [1, 2]\n"
    with pytest.raises(SrganError, match="a grid needs the number of values"):
        read(project, text % "")
    definition = read(project, text % ", points: 3")
    assert proposals.limit(definition) == 6  # one of the six cells is that of the base, which is the first trial
    assert definition.space["pretrain.learning_rate"].grid == [1e-4, 1e-3, 1e-2]


def test_ranges_are_whole_where_the_option_is(project):
    base = base_params()
    found, problems = space.parse({"train.batch_size": {"range": (2, 8)}, "train.losses.hatch.weight": {"range": (0, 2)}}, base)
    assert not problems
    assert found["train.batch_size"].whole
    assert not found["train.losses.hatch.weight"].whole


def test_sections_and_losses_can_be_chosen():
    base = base_params()
    choices = ({"name": "adam"}, {"name": "adamw"})
    found, problems = space.parse({"train.optimizer": choices}, base)
    assert not problems
    dimension = found["train.optimizer"]
    assert [dimension.decode(value) for value in dimension.grid] == list(choices)
    changed = space.changed(base, {"train.losses.hatch.weight": 0.5, "train.optimizer": {"name": "adamw"}})
    assert next(loss for loss in changed["train"]["losses"] if loss["name"] == "hatch")["weight"] == 0.5


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_proposal_depends_on_seed_and_history_alone(project, sampler):
    text = "objective: psnr_y\nsampler: %s\nseed: %d\nspace: {pretrain.learning_rate: {log: [1.0e-4, 1.0e-2]}, model.depth: [1, 2, 3]}\n"
    one = proposals.propose(read(project, text % (sampler, 0)), [])
    assert proposals.propose(read(project, text % (sampler, 0)), []) == one
    assert proposals.propose(read(project, text % (sampler, 1)), []) != one
