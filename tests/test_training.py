import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import environment, write_params
from test_data import make_store

from srgan import models, params
from srgan.data.crops import Crops
from srgan.data.images import write_png
from srgan.data.manifest import Pair
from srgan.errors import SrganError
from srgan.training.checkpoint import Checkpoints
from srgan.training.device import pick_device, pick_precision
from srgan.training.log import TrainingLog
from srgan.training.trainer import Interrupted, Trainer, columns, learning_rate


@pytest.fixture
def world(tmp_path):
    """A store, a validation pair and parameters, all tiny."""
    torch.manual_seed(0)
    make_store(tmp_path)
    random = np.random.default_rng(0)
    pair = Pair("own", "v", tmp_path / "hr.png", tmp_path / "lr.png")
    write_png(pair.lr, random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    write_png(pair.hr, random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return tmp_path, [pair]


def trainer(world, stage, changes=None):
    folder, validation = world
    options = getattr(params.load(write_params(folder, changes)), stage)
    torch.manual_seed(options.seed)
    generator = models.build_generator("compact", scale=4, features=8, depth=1)
    discriminator = models.build_discriminator("patch", features=4, depth=2) if stage == "train" else None
    crops = Crops(make_store(folder), options.batch, options.patch, options.seed)
    return Trainer(options, generator, discriminator, crops, validation)


def fit(world, stage, folder, changes=None, signature="s"):
    subject = trainer(world, stage, changes)
    log = TrainingLog(world[0] / f"{folder}.csv", columns(subject.options), subject.options.steps, stage)
    with Checkpoints(world[0] / folder, signature) as checkpoints:
        model = subject.fit(log, checkpoints)
        checkpoints.finish()
        return model


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def moved(model, before):
    return any(not torch.equal(a, b) for a, b in zip(model.state_dict().values(), before, strict=True))


def weights(model):
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_step_moves_the_networks_it_should(world, stage):
    subject = trainer(world, stage)
    generator = weights(subject.generator)
    discriminator = weights(subject.discriminator) if subject.discriminator else None
    figures = subject.step(3)
    assert moved(subject.generator, generator)
    assert all(math.isfinite(float(value)) for value in figures.values())
    if stage == "train":
        assert moved(subject.discriminator, discriminator)


@pytest.mark.parametrize("loss", ["pixel", "adversarial", "feature_matching"])
def test_each_loss_alone_moves_the_generator_and_leaves_no_gradient_in_the_discriminator(world, loss):
    zeros = {f"train.losses.{name}": 0.0 for name in ("pixel", "adversarial", "feature_matching")}
    subject = trainer(world, "train", zeros | {f"train.losses.{loss}": 1.0})
    before = weights(subject.generator)
    gradients = {}
    update = subject._update

    def spy(optimizer, value):
        update(optimizer, value)
        if optimizer is subject.optimizer_d:  # after its own update: what follows must not touch these
            gradients.update({name: p.grad.clone() for name, p in subject.discriminator.named_parameters()})

    subject._update = spy
    subject.step(1)
    assert moved(subject.generator, before)
    assert gradients
    for name, parameter in subject.discriminator.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])


def test_without_any_loss_the_generator_stays(world):
    zeros = {f"train.losses.{name}": 0.0 for name in ("pixel", "adversarial", "feature_matching")}
    subject = trainer(world, "train", zeros)
    before = weights(subject.generator)
    subject.step(1)
    assert not moved(subject.generator, before)


def test_averaged_weights_follow_slowly(world):
    subject = trainer(world, "pretrain", {"pretrain.ema": 0.9})
    subject.step(1)
    first = subject.ema.module.state_dict()["body.0.weight"].clone()
    assert torch.equal(first, subject.generator.state_dict()["body.0.weight"])
    subject.step(2)
    expected = 0.9 * first + 0.1 * subject.generator.state_dict()["body.0.weight"]
    assert torch.allclose(subject.ema.module.state_dict()["body.0.weight"], expected, atol=1e-7)


def test_training_learns(world):
    fit(
        world,
        "pretrain",
        "a",
        {"pretrain.steps": 60, "pretrain.log_every": 10, "pretrain.validate_every": 60, "pretrain.learning_rate": 0.003},
    )
    with (world[0] / "a.csv").open() as file:
        losses = [float(row["loss_pixel"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("stage", ["pretrain", "train"])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_run_interrupted_and_resumed_ends_in_the_same_weights(world, stage, stop_after):
    expected = fit(world, stage, "straight")
    subject = trainer(world, stage)
    step = subject.step

    def stopping(number):
        if number == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(number)

    subject.step = stopping
    log = TrainingLog(world[0] / "broken.csv", columns(subject.options), subject.options.steps, stage)
    with Checkpoints(world[0] / "broken", "s") as checkpoints, pytest.raises(Interrupted) as caught:
        subject.fit(log, checkpoints)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caught.value.signum == signal.SIGTERM
    assert equal(fit(world, stage, "broken"), expected)
    for suffix in (".csv", "_validation.csv"):
        assert (world[0] / f"broken{suffix}").read_bytes() == (world[0] / f"straight{suffix}").read_bytes()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(world, caplog):
    expected = fit(world, "pretrain", "straight")
    subject = trainer(world, "pretrain")
    real = subject.step
    subject.step = lambda number: 1 / 0 if number == 5 else real(number)
    log = TrainingLog(world[0] / "x.csv", columns(subject.options), 6, "x")
    with Checkpoints(world[0] / "x", "s") as checkpoints, pytest.raises(ZeroDivisionError):
        subject.fit(log, checkpoints)
    newest = sorted((world[0] / "x").glob("step-*.pt"))[-1]
    assert newest.name == "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-500])
    assert equal(fit(world, "pretrain", "x"), expected)
    assert "damaged" in caplog.text


def test_killed_after_the_last_step_it_need_not_train_again(world):
    subject = trainer(world, "pretrain")
    with Checkpoints(world[0] / "x", "s") as checkpoints:  # no finish: the weights were never written
        expected = subject.fit(TrainingLog(world[0] / "x.csv", columns(subject.options), 6, "x"), checkpoints)
    again = trainer(world, "pretrain")
    again.step = None  # would fail if called
    with Checkpoints(world[0] / "x", "s") as checkpoints:
        assert equal(again.fit(TrainingLog(world[0] / "x.csv", columns(again.options), 6, "x"), checkpoints), expected)


def test_checkpoints_of_another_run_are_set_aside_not_resumed(world):
    with Checkpoints(world[0] / "c", "old") as checkpoints:
        checkpoints.save(4, {"x": torch.ones(1)})
    restored = []
    with Checkpoints(world[0] / "c", "new") as checkpoints:
        assert checkpoints.resume(restored.append) == 0
    assert not restored
    assert (world[0] / "c" / "set-aside" / "step-00000004.pt").is_file()


def test_two_checkpoints_are_kept_and_a_finished_run_is_not_resumed(world):
    with Checkpoints(world[0] / "c", "s") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, {})
        assert [path.name for path in sorted((world[0] / "c").glob("*.pt"))] == ["step-00000002.pt", "step-00000003.pt"]
        checkpoints.finish()
        assert [path.name for path in (world[0] / "c").glob("*.pt")] == ["final.pt"]
        assert checkpoints.resume(lambda state: None) == 0


def test_one_trainer_per_folder(world):
    with Checkpoints(world[0] / "c", "s"):  # noqa: SIM117
        with pytest.raises(SrganError, match="another process is training here"), Checkpoints(world[0] / "c", "s"):
            pass
    with Checkpoints(world[0] / "c", "s"):
        """Free again."""


def test_a_loss_that_is_not_finite_stops_with_advice(world):
    subject = trainer(world, "pretrain")
    with torch.no_grad():
        subject.generator.body[0].weight.fill_(math.nan)
    log = TrainingLog(world[0] / "x.csv", columns(subject.options), 6, "x")
    with Checkpoints(world[0] / "x", "s") as checkpoints, pytest.raises(SrganError, match=r"not finite.*lower learning_rate"):
        subject.fit(log, checkpoints)


def test_the_learning_rate_is_a_function_of_the_step(tmp_path):
    changes = {"pretrain.steps": 101, "pretrain.warmup": 10}
    options = params.load(write_params(tmp_path, changes)).pretrain
    rates = [learning_rate(step, options, 1.0) for step in range(1, 102)]
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) == 9
    assert rates[50] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[-1] == pytest.approx(0.01)
    constant = params.load(write_params(tmp_path, changes | {"pretrain.schedule": "constant"})).pretrain
    assert learning_rate(101, constant, 1.0) == 1


def test_precision_follows_the_wish_and_the_hardware():
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) is torch.float32
    assert pick_precision("bf16", cpu) is torch.bfloat16
    assert pick_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(SrganError, match="not for MPS"):
        pick_precision("bf16", torch.device("mps"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_stages_train_in_either_precision(world, precision):
    for stage in ("pretrain", "train"):
        model = fit(world, stage, f"{stage}-{precision}", {f"{stage}.precision": precision})
        assert next(model.parameters()).dtype is torch.float32
        assert torch.isfinite(model(torch.rand(1, 3, 8, 8))).all()


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type != "cuda", reason="no CUDA device")
def test_both_stages_train_on_a_gpu(world):
    for stage in ("pretrain", "train"):
        model = fit(world, stage, stage, {f"{stage}.precision": "auto"})
        assert torch.isfinite(model(torch.rand(1, 3, 8, 8))).all()


def test_the_core_needs_no_orchestration():
    code = (
        "import sys; import srgan.training.trainer, srgan.models, srgan.losses, srgan.metrics, srgan.data.prepare;"
        "print([m for m in ('mlflow', 'prefect', 'dvc', 'onnxruntime', 'lpips', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def start(folder: Path, stage: str) -> subprocess.Popen:
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "srgan"), stage],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_command_killed_and_run_again_gives_identical_weights(copy_of_project, signum, code):
    out = copy_of_project / "models" / "pretrained.safetensors"
    changes = {"pretrain.steps": 120, "pretrain.log_every": 10, "pretrain.validate_every": 120, "pretrain.checkpoint_every": 10}
    write_params(copy_of_project, changes)
    assert start(copy_of_project, "pretrain").wait(120) == 0
    expected = out.read_bytes()
    out.unlink()
    process = start(copy_of_project, "pretrain")
    folder = copy_of_project / "checkpoints" / "pretrain"
    wait_for(lambda: any(int(path.stem[5:]) >= 20 for path in folder.glob("step-*.pt")))
    process.send_signal(signum)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert not out.exists()
    if signum != signal.SIGKILL:
        assert "goes on from the checkpoint" in output
        assert "Traceback" not in output
    assert start(copy_of_project, "pretrain").wait(120) == 0
    assert out.read_bytes() == expected
