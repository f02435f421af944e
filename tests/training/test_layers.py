# ruff: noqa: F811 - fixtures of another file
import copy

import pytest
import torch

from srgan.config import schema
from srgan.data.sampler import PatchSampler
from srgan.models.registry import build_discriminator, build_generator
from srgan.training.layers import freeze, rate_groups
from srgan.training.trainer import Trainer
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store
from tests.helpers.project import write_params
from tests.training.test_trainer import equal, fit, go, interrupt, trainer, world  # noqa: F401 - a fixture


def by_layer(stage, freeze=("body.0",), rate=0.25):
    return {f"{stage}.freeze": list(freeze), f"{stage}.first_layer_rate": rate}


def parameters(model):
    return {key: value.detach().clone() for key, value in model.named_parameters()}


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_frozen_layers_keep_their_weights_and_all_others_learn(world, stage):
    subject = trainer(world, stage, by_layer(stage))
    before = parameters(subject.generator)
    trained = go(subject, world[0] / "x")
    for network in (subject.generator, trained):  # the average of equal weights is that weight, bit for bit
        same = {key for key, value in parameters(network).items() if torch.equal(value, before[key])}
        assert same == {"body.0.weight", "body.0.bias"}


def test_all_but_the_tail_can_be_frozen(world):
    subject = trainer(world, "pretrain", by_layer("pretrain", ["all but tail"], 1.0))
    before = parameters(subject.generator)
    subject.step(1)
    moved = {key for key, value in parameters(subject.generator).items() if not torch.equal(value, before[key])}
    assert moved == {"body.4.weight", "body.4.bias"}


def test_frozen_batch_normalization_keeps_its_statistics(world):
    params = schema.load(write_params(world[0], {"train.freeze": ["body"]}))
    generator, discriminator = build_generator("srresnet", scale=4, features=4, depth=1), build_discriminator("vgg", features=4)
    crops = PatchSampler(make_store(world[0]), 2, params.train.patch_size, 0)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    subject = Trainer(params.train, params.runtime.train, generator, discriminator, crops, world[1])
    go(subject, world[0] / "x")
    after = subject.generator.state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert same == {key for key in before if key.startswith("body.")}


def test_the_first_layer_learns_at_its_share_of_the_rate(world):
    subject = trainer(world, "pretrain", by_layer("pretrain", [], 0.25))
    before = parameters(subject.generator)
    subject.step(1)
    # The first step of Adam changes a weight by its learning rate, whatever the gradient.
    steps = {key: (value - before[key]).abs().max() for key, value in parameters(subject.generator).items()}
    assert steps["body.0.weight"] / steps["body.4.weight"] == pytest.approx(0.25, rel=0.01)
    assert steps["body.2.weight"] / steps["body.4.weight"] == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_training_by_layer_resumes_in_the_same_weights(world, stage):
    expected = fit(world, stage, "straight", by_layer(stage))
    interrupt(trainer(world, stage, by_layer(stage)), world[0] / "broken", 3)
    assert equal(fit(world, stage, "broken", by_layer(stage)), expected)
    assert not equal(fit(world, stage, "all"), expected)


def test_a_state_fits_other_frozen_layers_and_rates(world):
    """So `--continue` may first train the tail alone and then all layers."""
    plain, part = trainer(world, "pretrain"), trainer(world, "pretrain", by_layer("pretrain"))
    for subject in (plain, part):
        subject.step(1)
    states = [copy.deepcopy(subject.networks["generator"].state_dict()["optimizer"]) for subject in (plain, part)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert set(states[0]["state"]) - set(states[1]["state"]) == {0, 1}
    for first, second in ((plain, part), (part, plain)):
        state = copy.deepcopy(first.state_dict())
        second.load_state_dict(state)
        assert (
            second.networks["generator"].state_dict()["optimizer"]["state"].keys()
            <= state["learners"]["generator"]["optimizer"]["state"].keys()
        )
        before = parameters(second.generator)
        second.step(2)
        kept = {key for key, value in parameters(second.generator).items() if torch.equal(value, before[key])}
        assert kept == ({"body.0.weight", "body.0.bias"} if second is part else set())


def test_blocks_count_as_layers():
    groups = rate_groups(build_generator("rrdb", scale=4, features=4, growth=2, depth=2), 0.5)
    assert [len(parameters) for _, parameters in groups] == [2, 30, 30, 2, 2, 2, 2, 2]
    assert groups[0][0] == 0.5
    assert groups[-1][0] == 1.0
    assert len(rate_groups(build_generator("compact", scale=2, features=4, depth=1), 1.0)) == 1


def test_a_wrong_layer_is_refused_with_the_names():
    model = build_generator("rrdb", scale=4, features=4, growth=2, depth=1)
    with pytest.raises(SrganError, match=r"no layer 'body.1'. Its layers: conv_first, body.0, conv_body, .* Or freeze: .all but tail."):
        freeze(model, ["body.1"])
    with pytest.raises(SrganError, match="no layer is left to train"):
        freeze(model, ["all but tail", *model.tail_layers])
