# ruff: noqa: F811 - fixtures of another file
import copy
import csv
import logging

import pytest
import torch

from srgan.config import schema
from srgan.data.sampler import PatchSampler
from srgan.models.registry import build_discriminator, build_generator
from srgan.training import cuda_graph
from srgan.training import trainer as trainer_module
from srgan.training.cuda_graph import WARMUP_STEPS, GraphedStep
from srgan.training.trainer import Trainer
from tests.data.test_packed_store import make_store
from tests.helpers.project import write_params
from tests.helpers.recorded_graph import RecordedGraphs
from tests.training.test_trainer import equal, go, interrupt, poison, settled, trainer, world  # noqa: F401 - fixtures

STEPS = 12


def changes(stage, **more):
    """Rates that float32 represents exactly: the tensor of a rate is float32 on a GPU."""
    rates = {f"{stage}.learning_rate": 2.0**-8, f"{stage}.steps": STEPS, f"{stage}.color_jitter": 0.3, f"{stage}.grad_clip": 0.5}
    rates[f"{stage}.schedule"] = {"name": "multistep", "warmup": 4, "milestones": [6, 9], "factor": 0.5}
    rates[f"runtime.{stage}.cuda_graph"] = "off"
    if stage == "train":
        rates["train.discriminator.learning_rate"] = 2.0**-9
    return rates | more


@pytest.fixture
def graphs(monkeypatch):
    """Record graphs on the CPU. Returns the recorders of the trainers so far."""
    made = []
    monkeypatch.setattr(trainer_module, "pick_device", lambda: torch.device("cpu"))  # on a GPU the recorder misses the backward pass
    monkeypatch.setattr(cuda_graph, "CudaGraphs", lambda: made.append(RecordedGraphs()) or made[-1])
    monkeypatch.setattr(cuda_graph, "obstacle", lambda *_: "")
    return made


def graphed(world, stage, **more):
    return trainer(world, stage, changes(stage, **{f"runtime.{stage}.cuda_graph": "auto"}) | more)


def steps(subject, first, last):
    for step in range(first, last + 1):
        subject.step(step)
    return subject


def assert_equal_states(first, second):
    first, second = (copy.deepcopy(subject.state_dict()) for subject in (first, second))
    for state in (first, second):
        del state["random"]
    left, right = (torch.utils._pytree.tree_flatten_with_path(state)[0] for state in (first, second))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, one), (_, other) in zip(left, right, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, path


@pytest.mark.parametrize(("stage", "parts", "precision"), [("pretrain", 1, "fp32"), ("train", 1, "fp16"), ("train", 2, "fp32")])
def test_a_graph_trains_the_same_bit_for_bit(world, graphs, stage, parts, precision):
    more = {f"{stage}.gradient_accumulation": parts, f"{stage}.precision": precision}
    plain = steps(trainer(world, stage, changes(stage, **more)), 1, STEPS)
    subject = steps(graphed(world, stage, **more), 1, STEPS)
    assert (graphs[-1].captures, graphs[-1].replays) == (1, STEPS - WARMUP_STEPS)
    assert_equal_states(subject, plain)
    assert all(torch.equal(a, b) for a, b in zip(subject.last_batch, plain.last_batch, strict=True))


def test_each_patch_size_has_a_capture(world, graphs):
    more = {"pretrain.patch_size": {0: 16, 6: 32}, "pretrain.ema_switch_every": 5}
    plain = steps(trainer(world, "pretrain", changes("pretrain", **more)), 1, STEPS)
    subject = steps(graphed(world, "pretrain", **more), 1, STEPS)
    assert (graphs[-1].captures, graphs[-1].replays) == (2, STEPS - 2 * WARMUP_STEPS)
    assert_equal_states(subject, plain)


def test_batch_normalization_and_its_averages_are_in_the_graph(world, graphs):
    found = []
    for more in ({}, {"runtime.train.cuda_graph": "auto"}):
        params = schema.load(write_params(world[0], changes("train", **more)))
        torch.manual_seed(0)
        networks = build_generator("srresnet", scale=4, features=4, depth=1), build_discriminator("vgg", features=4)
        crops = PatchSampler(make_store(world[0]), 2, params.train.patch_size, 0)
        found.append(steps(Trainer(params.train, params.runtime.train, *networks, crops, []), 1, STEPS))
    assert graphs[-1].captures == 1
    assert_equal_states(*found)


def test_activation_checkpointing_is_in_the_graph(world, graphs):
    found = []
    for more in ({}, {"runtime.pretrain.cuda_graph": "auto"}):
        params = schema.load(write_params(world[0], changes("pretrain", **more)))
        torch.manual_seed(0)
        network = build_generator("rrdb", scale=4, features=4, growth=4, depth=1)
        runtime = params.runtime.pretrain.model_copy(update={"activation_checkpointing": True})
        crops = PatchSampler(make_store(world[0]), 2, params.pretrain.patch_size, 0)
        found.append(steps(Trainer(params.pretrain, runtime, network, None, crops, []), 1, 6))
    assert graphs[-1].captures == 1
    assert_equal_states(*found)


def test_rates_by_layer_and_frozen_layers_are_in_the_graph(world, graphs):
    more = {"pretrain.freeze": ["body.1"], "pretrain.first_layer_rate": 0.25}
    plain = steps(trainer(world, "pretrain", changes("pretrain", **more)), 1, STEPS)
    subject = steps(graphed(world, "pretrain", **more), 1, STEPS)
    assert graphs[-1].captures == 1
    assert_equal_states(subject, plain)


@pytest.mark.parametrize("first", [True, False])
def test_checkpoints_with_and_without_a_graph_are_exchanged(world, graphs, first):
    makers = [graphed, lambda world, stage: trainer(world, stage, changes(stage))][:: 1 if first else -1]
    state = copy.deepcopy(steps(makers[0](world, "train"), 1, 6).state_dict())
    subject = makers[1](world, "train")
    subject.load_state_dict(state)
    plain = steps(trainer(world, "train", changes("train")), 1, STEPS)
    assert_equal_states(steps(subject, 7, STEPS), plain)


def test_a_loaded_state_replaces_the_graph(world, graphs):
    subject = graphed(world, "train")
    state = copy.deepcopy(steps(subject, 1, 5).state_dict())
    steps(subject, 6, 8)
    subject.load_state_dict(state)
    steps(subject, 6, STEPS)
    assert graphs[-1].captures == 2
    assert_equal_states(subject, steps(trainer(world, "train", changes("train")), 1, STEPS))


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_whole_training_with_an_interrupt_and_a_rollback_is_the_same(world, graphs, settled, stage):
    every = {
        f"{stage}.steps": 24,
        f"runtime.{stage}.checkpoint_every": 5,
        f"runtime.{stage}.log_every": 3,
        f"runtime.{stage}.validate_every": 4,
    }
    plain = go(poison(trainer(world, stage, changes(stage, **every)), 12, 1e4, times=1), world[0] / "plain")
    interrupt(poison(graphed(world, stage, **every), 12, 1e4, times=1), world[0] / "graphed", 17)
    again = go(graphed(world, stage, **every), world[0] / "graphed")
    assert [each.captures for each in graphs] == [3, 2]  # in the proof, in the training and after the rollback
    assert equal(again, plain)
    for suffix in (".csv", "_validation.csv"):
        with (world[0] / f"plain{suffix}").open() as one, (world[0] / f"graphed{suffix}").open() as other:
            assert list(csv.reader(one)) == list(csv.reader(other))


def test_a_failed_capture_leaves_usual_steps(world, graphs, monkeypatch, caplog):
    def fail(self, function):
        function()
        raise RuntimeError("operation not permitted when stream is capturing")

    calls = []
    step = GraphedStep(lambda *images: calls.append(1) or images, RecordedGraphs())
    monkeypatch.setattr(RecordedGraphs, "capture", fail)
    images = torch.zeros(1), torch.ones(1)
    for _ in range(WARMUP_STEPS + 2):
        assert step(*images) == images
    assert "cuda_graph: the steps run without a graph, because the capture failed: operation not permitted" in caplog.text
    step.forget()
    step(*images)
    assert len(caplog.records) == 1


def test_without_a_gpu_the_option_changes_nothing(world, caplog):
    if trainer_module.pick_device().type == "cuda":
        pytest.skip("needs a machine without CUDA")
    caplog.set_level(logging.INFO)
    assert graphed(world, "pretrain").graph is None
    assert "cuda_graph" not in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(trainer_module.pick_device().type != "cuda", reason="no CUDA device")
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_graph_of_a_gpu_trains_the_same(world, stage):
    plain = steps(trainer(world, stage, changes(stage)), 1, STEPS)
    subject = steps(graphed(world, stage), 1, STEPS)
    assert subject.graph.captured
    for key, value in plain.ema.module.state_dict().items():
        assert torch.allclose(subject.ema.module.state_dict()[key], value, rtol=1e-3, atol=1e-5), key
