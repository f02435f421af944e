# ruff: noqa: F811 - fixtures of another file
import logging
from functools import partial

import pytest
import torch

from srgan.config.training import Pretrain, StageRuntime
from srgan.training import compilation
from srgan.training.compilation import compiles
from tests.helpers.recorded_graph import RecordedGraphs
from tests.training.test_cuda_graph import changes, graphed, graphs  # noqa: F401 - a fixture
from tests.training.test_trainer import equal, go, trainer, world  # noqa: F401 - a fixture

CUDA = torch.device("cuda")


def trained(world, subject, name):
    return go(subject, world[0] / name)


@pytest.fixture
def usual(world):
    return lambda stage, **more: trained(world, trainer(world, stage, changes(stage, **more)), "usual")


def messages(caplog, key):
    return [record.message for record in caplog.records if record.message.startswith(key)]


def test_a_graph_is_proven_and_the_proof_leaves_no_trace(world, graphs, usual, caplog):
    caplog.set_level(logging.INFO)
    subject = graphed(world, "train")
    model = trained(world, subject, "graph")
    assert messages(caplog, "cuda_graph") == ["cuda_graph: the first 10 steps equal usual ones within rounding"]
    assert graphs[-1].captures == 2  # in the proof and in the training
    assert equal(model, usual("train"))


def still(subject):
    """Let a replay do nothing."""
    capture = subject.graph.graphs.capture
    subject.graph.graphs.capture = lambda function: (lambda: None, capture(function)[1])


def constant_rate(subject):
    """Take the learning rate of the capture for all steps."""
    subject.networks["generator"].rates = []


def old_batch(subject):
    """Take the batch of the capture for all steps."""
    batch = subject.batch
    subject.batch = lambda step, *rest, **more: batch(min(step, 4) if subject.graph else step, *rest, **more)


@pytest.mark.parametrize("fault", [still, constant_rate, old_batch])
def test_a_graph_that_computes_something_else_is_not_used(world, graphs, usual, caplog, fault):
    subject = graphed(world, "train")
    fault(subject)
    model = trained(world, subject, "graph")
    (message,) = messages(caplog, "cuda_graph")
    assert message.startswith("cuda_graph: not used, because ")
    assert " from usual steps, and rounding explains " in message
    assert subject.graph is None
    assert equal(model, usual("train"))


def test_a_capture_that_fails_is_reported_once(world, graphs, usual, caplog, monkeypatch):
    def fail(self, function):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(RecordedGraphs, "capture", fail)
    subject = graphed(world, "pretrain")
    model = trained(world, subject, "graph")
    assert len(messages(caplog, "cuda_graph")) == 1
    assert subject.graph is None
    assert equal(model, usual("pretrain"))


def test_a_compiler_that_fails_leaves_the_graph(world, graphs, usual, caplog, monkeypatch):
    def fail(*_):
        raise RuntimeError("no C compiler\nmany lines")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch, "compile", lambda network, **_: fail)
    subject = graphed(world, "train", **{"runtime.train.compile": "on"})
    model = trained(world, subject, "graph")
    expected = "cuda_graph with compile: not used, because its steps failed: no C compiler"
    assert messages(caplog, "cuda_graph") == [expected, "cuda_graph: the first 10 steps equal usual ones within rounding"]
    assert equal(model, usual("train"))


@pytest.mark.slow
def test_compiled_networks_learn_the_same_as_usual_ones(world, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    compiled = []

    def compile_without_code(network, **options):
        compiled.append(type(network).__name__)
        return torch_compile(network, backend="aot_eager", **options)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_without_code)
    losses = [{"name": "l1"}, {"name": "vgg19", "layers": {"conv2_2": 0.1}}, {"name": "relativistic", "weight": 0.02}]
    more = {"train.losses": losses, "runtime.train.compile": "on", "train.steps": 6, "train.schedule": {"name": "constant", "warmup": 2}}
    subject = trainer(world, "train", changes("train") | more, pretrained_losses=False)
    trained(world, subject, "compiled")
    assert messages(caplog, "compile:") == ["compile: the first 6 steps equal usual ones within rounding"]
    assert set(compiled) == {"Compact", "PatchDiscriminator", "VggLoss"}


@pytest.mark.parametrize(("steps", "device", "expected"), [(10**6, "cuda", True), (400, "cuda", False), (10**6, "cpu", False)])
def test_long_stages_on_a_gpu_are_compiled(monkeypatch, steps, device, expected):
    monkeypatch.setattr(compilation, "has_triton", lambda: True)
    found = partial(compiles, torch.device(device), Pretrain(steps=steps))
    assert found(StageRuntime()) is expected
    assert found(StageRuntime(compile="on")) and not found(StageRuntime(compile="off"))


def test_a_missing_compiler_is_named(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compilation, "has_triton", lambda: False)
    assert not compiles(CUDA, Pretrain(steps=10**6), StageRuntime())
    assert "compile: not used, because Triton is missing" in caplog.text
