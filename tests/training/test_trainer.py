import csv
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from srgan.config import schema
from srgan.config.training import Pretrain
from srgan.data.manifest import Pair
from srgan.data.sampler import PatchSampler
from srgan.degradations.recipe import BICUBIC, Recipe
from srgan.distributed.device import pick_device, pick_precision
from srgan.distributed.signals import Interrupted
from srgan.images.png import write_png
from srgan.images.read import read_image
from srgan.inference.torch_upscale import upscale
from srgan.losses.registry import LOSSES
from srgan.models.registry import build_discriminator, build_generator
from srgan.training import diagnostics
from srgan.training.checkpoint import Checkpoints
from srgan.training.figures import Figures
from srgan.training.logger import TrainingLog
from srgan.training.memory import memory_advice
from srgan.training.schedules import learning_rate
from srgan.training.trainer import Trainer
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store
from tests.helpers import together
from tests.helpers.commands import environment, run, start, wait_for
from tests.helpers.project import ROOT, runtime, write_params
from tests.helpers.recipes import SECOND_ORDER


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


def trainer(world, stage, changes=None, recipe=BICUBIC, **more):
    folder, validation = world
    params = schema.load(write_params(folder, changes))
    options = getattr(params, stage)
    torch.manual_seed(options.seed)
    generator = build_generator("compact", scale=4, features=8, depth=1)
    discriminator = build_discriminator("patch", features=4, depth=2) if stage == "train" else None
    store = make_store(folder, recipe=recipe, variants=int(recipe.made_ahead))
    crops = PatchSampler(store, options.batch_size, options.patch_size, options.seed)
    return Trainer(options, getattr(params.runtime, stage), generator, discriminator, crops, validation, **more)


def go(subject, place):
    """Run a trainer to its end, without the `finish` of a stage."""
    log = TrainingLog(place.with_suffix(".csv"), subject.options.steps, place.name, place / "pictures")
    with Checkpoints(place, "s", subject.runtime.checkpoint_every) as checkpoints:
        return subject.fit(log, checkpoints)


def fit(world, stage, folder, changes=None, **more):
    return go(trainer(world, stage, changes, **more), world[0] / folder)


def interrupt(subject, place, at):
    """Train until SIGTERM arrives, during step `at`, for the first time that it is taken. Returns the exception."""
    step, told = subject.step, []

    def stopping(number):
        if number == at and not told:
            told.append(number)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(number)

    subject.step = stopping
    with pytest.raises(Interrupted) as caught:
        go(subject, place)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return caught.value


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def equal_states(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def moved(model, before):
    return any(not torch.equal(a, b) for a, b in zip(model.state_dict().values(), before, strict=True))


def weights(model):
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_step_moves_the_networks_it_should(world, stage):
    subject = trainer(world, stage)
    generator = weights(subject.generator)
    discriminator = weights(subject.discriminator) if subject.discriminator else None
    subject.step(3)
    assert moved(subject.generator, generator)
    assert all(math.isfinite(float(value)) for value in subject.running_sums.values())
    assert not subject.divergence.step
    if stage == "train":
        assert moved(subject.discriminator, discriminator)


@pytest.mark.parametrize("variants", [1, 0])
def test_a_gray_network_learns_with_all_losses_and_a_conditional_discriminator(tmp_path, variants):
    losses = [name for name, loss in LOSSES.items() if not loss.pretrained and not loss.trains_discriminator]
    changes = {"train.discriminator.condition": True, "train.losses": [{"name": name} for name in (*losses, "relativistic")]}
    changes |= {"train.stabilization.noise": 0.1, "train.stabilization.r1": 1.0}
    loaded = schema.load(write_params(tmp_path, changes | {f"{stage}.patch_size": 32 for stage in ("pretrain", "train")}))
    store = make_store(tmp_path, recipe=Recipe("gaussian-20"), variants=variants, channels=1)
    generator = build_generator("compact", scale=4, features=8, depth=1, channels=1)
    discriminator = build_discriminator("patch", features=4, depth=2, condition=True)
    subject = Trainer(loaded.train, loaded.runtime.train, generator, discriminator, PatchSampler(store, 2, 32, 0), [])
    before = [weights(model) for model in (subject.generator, subject.discriminator)]
    subject.step(1)
    assert moved(subject.generator, before[0])
    assert moved(subject.discriminator, before[1])
    assert all(math.isfinite(float(value)) for value in subject.running_sums.values())
    gray = torch.rand(2, 1, 32, 32)
    colours, judge = gray.repeat(1, 3, 1, 1), subject.discriminator.eval()
    found = [subject.objective.validate(image, image / 2, image[..., ::4, ::4], judge) for image in (gray, colours)]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("srresnet", {"features": 8, "depth": 1, "upsampling": "pixelshuffle"}),
        ("rrdb", {"features": 8, "growth": 4, "depth": 1}),
        ("compact", {"features": 8, "depth": 1}),
        ("srcnn", {"features": 8}),
    ],
)
def test_any_network_learns_any_scale(tmp_path, name, config, scale):
    sizes = {f"{stage}.patch_size": 24 for stage in ("pretrain", "train")}
    loaded = schema.load(write_params(tmp_path, sizes | {"prepare.scale": scale}))
    crops = PatchSampler(make_store(tmp_path, ((48, 96), (48, 48)), scale), 2, 24, 0)
    generator = build_generator(name, scale=scale, **config)
    discriminator = build_discriminator("patch", features=4, depth=2)
    for stage, judge in (("pretrain", None), ("train", discriminator)):
        subject = Trainer(getattr(loaded, stage), getattr(loaded.runtime, stage), generator, judge, crops, [])
        before = weights(subject.generator)
        for step in (1, 2):
            subject.step(step)
        assert moved(subject.generator, before)
        assert all(math.isfinite(float(value)) for value in subject.running_sums.values())
        generator = subject.generator
    assert upscale(generator.eval(), np.zeros((5, 7, 3), np.uint8)).shape == (5 * scale, 7 * scale, 3)


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_batch_in_parts_gives_the_same_gradient(world, stage):
    whole, parts = (trainer(world, stage, {f"{stage}.batch_size": 4, f"{stage}.gradient_accumulation": n}) for n in (1, 4))
    if stage == "train":  # relativistic averages are over the part
        changes = {"train.losses": [{"name": "l1"}, {"name": "feature_matching"}, {"name": "hinge"}], "train.batch_size": 4}
        whole, parts = (trainer(world, stage, changes | {"train.gradient_accumulation": n}) for n in (1, 4))
        for subject in (whole, parts):
            subject.discriminator.eval()  # spectral normalisation moves on with each pass
    for subject in (whole, parts):
        subject.step(1)
    for name in whole.networks:
        for one, other in zip(whole.networks[name].parameters, parts.networks[name].parameters, strict=True):
            assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_a_gradient_is_cut_to_the_given_length(world):
    subject = trainer(world, "pretrain", {"pretrain.grad_clip": 1e-3})
    subject.step(1)
    length = torch.stack([weight.grad.norm() for weight in subject.generator.parameters()]).norm()
    assert length == pytest.approx(1e-3, rel=1e-3)
    assert subject.running_sums["gradient_generator"] > 1e-2  # what is logged is the length before


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
        {"pretrain.steps": 60, "runtime.pretrain.log_every": 10, "runtime.pretrain.validate_every": 60, "pretrain.learning_rate": 0.003},
    )
    with (world[0] / "a.csv").open() as file:
        losses = [float(row["loss_l1"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("stage", ["pretrain", "train"])
@pytest.mark.parametrize("stop_after", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 5))])
def test_a_run_interrupted_and_resumed_ends_in_the_same_weights(world, stage, stop_after):
    expected = fit(world, stage, "straight")
    assert interrupt(trainer(world, stage), world[0] / "broken", stop_after).signum == signal.SIGTERM
    assert equal(fit(world, stage, "broken"), expected)
    for suffix in (".csv", "_validation.csv"):
        assert (world[0] / f"broken{suffix}").read_bytes() == (world[0] / f"straight{suffix}").read_bytes()


def test_a_run_with_a_random_recipe_resumes_in_the_same_weights(world):
    more = {"changes": {"train.color_jitter": 0.2}, "recipe": SECOND_ORDER}
    expected = fit(world, "train", "straight", **more)
    interrupt(trainer(world, "train", **more), world[0] / "broken", 3)
    assert equal(fit(world, "train", "broken", **more), expected)
    assert not equal(fit(world, "train", "bicubic", {"train.color_jitter": 0.2}), expected)


@pytest.mark.slow
def test_killed_at_five_random_steps_a_run_with_a_random_recipe_ends_in_the_same_weights(world):
    folder, (pair,) = world
    changes = {"pretrain.steps": 20, "pretrain.color_jitter": 0.2} | runtime("pretrain", checkpoint_every=2, validate_every=10)
    steps = sorted(np.random.default_rng().choice(np.arange(3, 20), 5, replace=False).tolist())
    for name in ("straight", "killed"):
        (folder / name).mkdir()
        make_store(folder / name, recipe=Recipe("realesrgan"), variants=0)
        write_params(folder / name, changes)
        for file in (pair.hr, pair.lr):
            shutil.copy(file, folder / name)

    def train(name, *stop):
        command = [sys.executable, "-m", together.__name__, "fit", folder / name, *stop]
        return subprocess.run(list(map(str, command)), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)

    with ThreadPoolExecutor(2) as both:
        straight = both.submit(train, "straight")
        for step in steps:
            assert train("killed", step, int(signal.SIGKILL)).returncode == -signal.SIGKILL
        done = train("killed")
        assert (straight.result().returncode, done.returncode) == (0, 0), done.stderr
    assert "resumes after step" in done.stderr
    expected, found = (torch.load(folder / name / "weights.pt") for name in ("straight", "killed"))
    assert all(torch.equal(found[key], value) for key, value in expected.items()), steps


def test_colors_change_before_the_recipe_which_ends_in_8_bits(world):
    subject = trainer(world, "train", recipe=SECOND_ORDER)
    (hr_image, lr_image), (plain, _) = subject.batch(3, jitter=0.5), subject.batch(3, jitter=0)
    gains = torch.from_numpy(subject.sampler.color_gains(3, 0.5))[:, :, None, None]
    assert torch.equal(hr_image, plain * gains)
    assert torch.equal(lr_image, SECOND_ORDER.degrade_patches(hr_image, 4, subject.options.seed, 3))
    assert torch.equal((lr_image * 255).round() / 255, lr_image)
    assert torch.equal(subject.batch(0, jitter=0)[1], subject.batch(0, jitter=0)[1])
    assert not torch.equal(subject.batch(4, jitter=0)[1], lr_image)


GROWING = {"train.patch_size": {0: 16, 3: 32, 5: 48}}


@pytest.mark.parametrize("changes", [GROWING, {"train.ema_switch_every": 2}], ids=["patch growth", "switch"])
def test_what_changes_within_a_training_resumes_in_the_same_weights(world, changes):
    expected = fit(world, "train", "straight", changes)
    interrupt(trainer(world, "train", changes), world[0] / "broken", 3)
    assert equal(fit(world, "train", "broken", changes), expected)
    assert not equal(fit(world, "train", "plain"), expected)


def test_the_options_of_the_augmentation_reach_the_batches(world):
    store = make_store(world[0], scale=1, recipe=Recipe("gaussian-20"), variants=2)
    options = schema.load(write_params(world[0], {"prepare.scale": 1, "pretrain.cutblur": 1.0})).pretrain
    generator, runtime = build_generator("compact", scale=1, features=4, depth=0), schema.Params().runtime.pretrain
    subject = Trainer(options, runtime, generator, None, PatchSampler(store, 4, 16, 0), [])
    seen = []
    subject._update = lambda *images: seen.append(images) or (Figures(("loss",), torch.zeros(1)), *images)
    subject.step(1)
    assert torch.equal(seen[0][1], subject.batch(1, options.color_jitter, cutblur=1.0)[1])
    assert not torch.equal(seen[0][1], subject.batch(1, options.color_jitter)[1])


def test_patches_grow_at_their_steps(world):
    subject = trainer(world, "train", GROWING)
    sides = []
    for step in range(1, 7):
        subject.step(step)
        sides.append(subject.last_batch[1].shape[-1])
    assert sides == [16, 16, 32, 32, 48, 48]
    assert subject.batch(0, jitter=0)[0].shape[-1] == 16  # the patches of `gap` stay the same


def test_the_network_takes_over_its_averages_at_intervals(world):
    subject = trainer(world, "pretrain", {"pretrain.ema_switch_every": 2, "pretrain.ema": 0.9})
    taken = []
    for step in range(1, 6):
        subject.step(step)
        taken.append(equal(subject.generator, subject.ema.module))
    assert taken == [True, True, False, True, False]  # the first average is the network itself


def test_batch_normalisation_is_averaged_and_resumed(world):
    """SRResNet against SRGAN's discriminator: both have statistics of their own."""

    def both():
        params = schema.load(write_params(world[0]))
        options = params.train
        torch.manual_seed(0)
        generator = build_generator("srresnet", scale=4, features=4, depth=1, upsampling="pixelshuffle")
        crops = PatchSampler(make_store(world[0]), options.batch_size, options.patch_size, options.seed)
        return Trainer(options, params.runtime.train, generator, build_discriminator("vgg", features=4), crops, world[1])

    straight = both()
    expected = go(straight, world[0] / "straight")
    mean = straight.ema.module.state_dict()["norm.running_mean"]
    assert not torch.equal(mean, straight.generator.state_dict()["norm.running_mean"])
    interrupt(both(), world[0] / "broken", 3)
    assert equal(go(both(), world[0] / "broken"), expected)


def test_a_loss_on_the_averaged_weights_is_resumed(world):
    changes = {"train.losses": [{"name": "l1"}, {"name": "ldl", "weight": 100.0}, {"name": "hinge"}]}
    subject = trainer(world, "train", changes)
    expected = go(subject, world[0] / "straight")
    assert all(row["loss_ldl"] for row in subject.history)
    interrupt(trainer(world, "train", changes), world[0] / "broken", 3)
    assert equal(fit(world, "train", "broken", changes), expected)


def test_a_network_that_is_folded_for_use_is_averaged_and_resumed_unfolded(world):
    def wide():
        params = schema.load(write_params(world[0]))
        options = params.pretrain
        torch.manual_seed(0)
        generator = build_generator("span", scale=4, features=4, reparameterized=True)
        crops = PatchSampler(make_store(world[0]), options.batch_size, options.patch_size, options.seed)
        return Trainer(options, params.runtime.pretrain, generator, None, crops, world[1])

    expected = go(wide(), world[0] / "straight")
    assert expected.reparameterized
    interrupt(wide(), world[0] / "broken", 3)
    assert equal(go(wide(), world[0] / "broken"), expected)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(world, caplog):
    expected = fit(world, "pretrain", "straight")
    subject = trainer(world, "pretrain")
    real = subject.step
    subject.step = lambda number: 1 / 0 if number == 5 else real(number)
    with pytest.raises(ZeroDivisionError):
        go(subject, world[0] / "x")
    newest = sorted((world[0] / "x").glob("step-*.pt"))[-1]
    assert newest.name == "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-500])
    assert equal(fit(world, "pretrain", "x"), expected)
    assert "damaged" in caplog.text


def test_killed_after_the_last_step_it_need_not_train_again(world):
    expected = fit(world, "pretrain", "x")  # no finish: the weights were never written
    picture = world[0] / "x_validation.png"
    seen = picture.read_bytes()
    picture.unlink()  # as DVC does before it runs a stage again
    again = trainer(world, "pretrain")
    again.step = None  # would fail if called
    assert equal(go(again, world[0] / "x"), expected)
    assert picture.read_bytes() == seen


def test_two_checkpoints_are_kept_and_a_finished_run_is_not_resumed(world):
    with Checkpoints(world[0] / "c", "s", 1) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, {})
        assert [path.name for path in sorted((world[0] / "c").glob("*.pt"))] == ["step-00000002.pt", "step-00000003.pt"]
        checkpoints.finish()
        assert [path.name for path in (world[0] / "c").glob("*.pt")] == ["final.pt"]
        assert checkpoints.resume(lambda state: None) == 0


def test_one_trainer_per_folder(world):
    with Checkpoints(world[0] / "c", "s", 1):  # noqa: SIM117
        with pytest.raises(SrganError, match="another process is training here"), Checkpoints(world[0] / "c", "s", 1):
            pass
    with Checkpoints(world[0] / "c", "s", 1):
        """Free again."""


def poison(subject, at, value=math.nan, times=99):
    """Make the trainer's weights useless at a step, so many times."""
    real, left = subject.step, [times]

    def step(number):
        real(number)
        if number == at and left[0]:
            left[0] -= 1
            with torch.no_grad():
                subject.generator.body[0].weight.mul_(value)

    subject.step = step
    return subject


@pytest.fixture
def settled(monkeypatch):
    """The running mean counts from the start: these trainings are short."""
    monkeypatch.setattr(diagnostics, "WARMUP_STEPS", 1)


@pytest.mark.parametrize("value", [math.nan, 1e4])
def test_a_diverging_run_goes_back_and_goes_on_with_half_the_rate(world, caplog, settled, value):
    changes = {"pretrain.steps": 10, "runtime.pretrain.checkpoint_every": 4}
    subject = poison(trainer(world, "pretrain", changes), 5, value, times=1)
    model = go(subject, world[0] / "x")
    assert "diverged at step 6: back to the checkpoint of step 4, with 0.5 of the learning rate (1 of at most 3 times)" in caplog.text
    assert torch.isfinite(model(torch.rand(1, 3, 8, 8))).all()
    with (world[0] / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10"]
    straight = learning_rate(6, subject.options, subject.options.learning_rate)
    assert float(rows[2]["learning_rate"]) == pytest.approx(straight / 2, abs=1e-9)


@pytest.mark.parametrize("stage", ["pretrain", "train"])
@pytest.mark.parametrize(
    ("at", "stop_after"),
    [(6, 5), (1, 4), *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in ((6, 3), (6, 7), (1, 1)))],
)
def test_a_diverging_run_interrupted_and_resumed_ends_in_the_same_weights(world, settled, stage, at, stop_after):
    changes = {f"{stage}.steps": 10, f"runtime.{stage}.checkpoint_every": 2, f"runtime.{stage}.log_every": 5}
    expected = go(poison(trainer(world, stage, changes), at, 1e4, times=1), world[0] / "straight")
    subject = poison(trainer(world, stage, changes), at, 1e4, times=1)
    interrupt(subject, world[0] / "broken", stop_after)
    again = poison(trainer(world, stage, changes), at, 1e4, times=int(stop_after < at))
    assert equal(go(again, world[0] / "broken"), expected)
    for suffix in (".csv", "_validation.csv"):
        assert (world[0] / f"broken{suffix}").read_bytes() == (world[0] / f"straight{suffix}").read_bytes()


def test_one_hard_batch_at_the_start_is_no_divergence(world):
    subject = trainer(world, "pretrain")
    subject.divergence.loss_ema = torch.tensor(1e-6)
    subject.step(2)
    assert not subject.divergence.step


def test_a_run_that_diverges_again_and_again_stops_with_advice(world):
    subject = poison(trainer(world, "pretrain", {"runtime.pretrain.rollbacks": 2}), 5)
    with pytest.raises(SrganError, match=r"diverged at step 6 .* lower learning_rate, raise precision to fp32"):
        go(subject, world[0] / "x")


def test_too_little_memory_names_the_key_to_change(world):
    subject = trainer(world, "pretrain", {"pretrain.batch_size": 4, "pretrain.gradient_accumulation": 2})

    def step(number):
        torch.empty(1 << 50, dtype=torch.uint8)

    subject.step = step
    with pytest.raises(SrganError, match=r"2 patches of 32x32 at a time: in params.yaml raise gradient_accumulation \(is 2\)"):
        go(subject, world[0] / "x")


@pytest.mark.parametrize(
    "message",
    [
        "GET was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_too_little_memory_for_a_library_of_cuda_names_the_key_to_change(message):
    advice = rf"raise gradient_accumulation \(is 1\), or lower batch_size .* The library reported: {re.escape(message)}$"
    with pytest.raises(SrganError, match=advice), memory_advice(Pretrain()):
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="CUDNN_STATUS_BAD_PARAM"), memory_advice(Pretrain()):  # a bug, not a lack of memory
        raise RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM")


def test_the_best_weights_are_kept_not_the_last(world):
    subject = trainer(world, "pretrain", {"pretrain.steps": 6, "runtime.pretrain.validate_every": 2})
    score = subject.score
    psnrs = iter([10.0, 10.0, 11.0, 30.0, 12.0])  # rehearsal, step 0, 2, 4, 6
    seen = {}

    def scored(validation):
        seen[len(seen)] = weights(subject.ema.module)
        scores = score(validation)()[0] | {"val_psnr_y": next(psnrs)}
        return lambda: (scores, [])

    subject.score = scored
    model = go(subject, world[0] / "x")
    assert subject.selection.best["step"] == 4
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), seen[3], strict=True))


def test_without_lpips_both_candidates_are_scored_by_the_same_discriminator(world):
    subject = trainer(world, "train")
    start = {"step": 0, "val_psnr_y": 0.0}
    own = weights(subject.ema.module)
    subject.selection.best = {"step": 1, "merit": [1.0, 99.0], "weights": dict(subject.generator.state_dict())}

    def best():
        return subject.selection._best_score(start, subject._rescore)

    before = best()
    assert before == subject.selection.score(subject.score(subject.pairs)()[0], start)  # not the 99 of another discriminator
    with torch.no_grad():
        subject.discriminator.first.bias.add_(1.0)
    assert best() != before
    assert equal_states(weights(subject.ema.module), own)  # the present weights are restored


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_validation_beside_the_training_gives_the_same(world, stage):
    """As on a GPU: scores and pictures are made in threads while the steps go on."""
    changes = {f"{stage}.steps": 9} | runtime(stage, validate_every=2, log_every=3, checkpoint_every=4)
    expected = fit(world, stage, "straight", changes)
    subject = trainer(world, stage, changes)
    subject.validation.threads = ThreadPoolExecutor(2)
    interrupt(subject, world[0] / "beside", 7)
    again = trainer(world, stage, changes)
    again.validation.threads = ThreadPoolExecutor(2)
    assert equal(go(again, world[0] / "beside"), expected)
    for suffix in (".csv", "_validation.csv"):
        assert (world[0] / f"beside{suffix}").read_bytes() == (world[0] / f"straight{suffix}").read_bytes()


def test_a_set_up_that_cannot_validate_fails_before_the_first_step(world):
    subject = trainer(world, "pretrain")
    subject.step = None  # would fail if called
    (world[0] / "hr.png").write_bytes(b"")
    with pytest.raises(SrganError, match=r"hr\.png"):
        go(subject, world[0] / "x")


def test_each_validation_leaves_its_scores_and_pictures(world):
    stale = world[0] / "x" / "pictures" / "step-00000005.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another run")
    fit(world, "train", "x")
    with (world[0] / "x_validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "3", "6"]
    assert set(rows[0]) == {"step", "val_psnr_y", "val_ssim_y", "val_hatch", "val_loss", "gap"}
    assert [path.name for path in sorted((world[0] / "x" / "pictures").iterdir())] == [f"step-{n:08d}.png" for n in (0, 3, 6)]
    picture = read_image(world[0] / "x_validation.png")
    assert picture.shape[1] == 4 * (3 * 32 + 6) - 6  # LR, bicubic, SR, HR


def test_the_learning_rate_is_a_function_of_the_step(tmp_path):
    def rates_of(steps, **schedule):
        options = schema.load(write_params(tmp_path, {"pretrain.steps": 101, "pretrain.schedule": schedule})).pretrain
        return [learning_rate(step, options, 1.0) for step in steps]

    rates = rates_of(range(1, 102), name="cosine", warmup=10)
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) == 9
    assert rates[50] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[-1] == pytest.approx(0.01)
    assert rates_of([101], name="constant", warmup=0) == [1]
    multistep = {"name": "multistep", "warmup": 0, "milestones": [50, 80], "factor": 0.5}
    assert rates_of((1, 50, 51, 80, 81, 101), **multistep) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    rates = rates_of(range(1, 102), name="wsd", warmup=10, decay=0.2)
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert set(rates[9:81]) == {1}
    assert rates[81:] == sorted(set(rates[81:]), reverse=True)
    assert (rates[85], rates[-1]) == pytest.approx((1 - 0.99 / 2, 0.01))  # after a quarter of the decay, and at its end


def test_precision_follows_the_wish_and_the_hardware():
    cpu = torch.device("cpu")
    assert pick_precision("fp32", cpu) is torch.float32
    assert pick_precision("bf16", cpu) is torch.bfloat16
    assert pick_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(SrganError, match="not supported on MPS"):
        pick_precision("bf16", torch.device("mps"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_both_stages_train_in_each_precision(world, precision):
    for stage in ("pretrain", "train"):
        model = fit(world, stage, f"{stage}-{precision}", {f"{stage}.precision": precision})
        assert next(model.parameters()).dtype is torch.float32
        assert torch.isfinite(model(torch.rand(1, 3, 8, 8))).all()


@pytest.mark.gpu  # on a CPU it passes, too, but compiles for most of a minute
@pytest.mark.skipif(pick_device().type != "cuda", reason="no CUDA device")
def test_a_compiled_generator_learns_the_same(world):
    plain, compiled = (trainer(world, "train", {"runtime.train.compile": value}) for value in ("off", "on"))
    before = torch.cat([weight.flatten() for weight in weights(plain.generator)])
    for subject in (plain, compiled):
        subject.step(1)
    one, other = (torch.cat([weight.flatten() for weight in weights(subject.generator)]) for subject in (plain, compiled))
    # Adam's first step turns the sign of a gradient into a whole step, so rounding moves a few weights by two steps.
    assert (one - other).abs().mean() < 0.05 * (one - before).abs().mean()


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type != "cuda", reason="no CUDA device")
def test_both_stages_train_on_a_gpu(world):
    for stage in ("pretrain", "train"):
        model = fit(world, stage, stage, {f"{stage}.precision": "auto"})
        assert torch.isfinite(model(torch.rand(1, 3, 8, 8))).all()


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type != "cuda", reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_gpu_with_deterministic_kernels_resumes_in_the_same_weights(world, stage, precision):
    changes = {f"{stage}.precision": precision} | runtime(stage, deterministic=True)
    expected = fit(world, stage, "straight", changes)
    interrupt(trainer(world, stage, changes), world[0] / "broken", 4)
    assert equal(fit(world, stage, "broken", changes), expected)


@pytest.mark.gpu
@pytest.mark.skipif(pick_device().type != "cuda", reason="no CUDA device")
def test_too_little_memory_of_a_gpu_names_the_key_to_change(world):
    subject = trainer(world, "pretrain")
    subject.step = lambda _: torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    with pytest.raises(SrganError, match="out of memory with 2 patches of 32x32 at a time"):
        go(subject, world[0] / "x")


@pytest.mark.parametrize("deterministic", [False, True])
def test_deterministic_steps_let_cudnn_measure_no_algorithms(world, deterministic):
    trainer(world, "pretrain", runtime("pretrain", deterministic=deterministic)).step(1)
    assert torch.backends.cudnn.benchmark is not deterministic


@pytest.mark.slow
def test_the_core_needs_no_orchestration():
    code = (
        "import sys; import srgan.training.trainer, srgan.models, srgan.losses, srgan.metrics, srgan.data.prepare;"
        "print([m for m in ('mlflow', 'prefect', 'dvc', 'onnxruntime', 'lpips', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LONG = {"pretrain.steps": 120} | runtime("pretrain", log_every=10, validate_every=60, checkpoint_every=10)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_told_to_stop_leaves_a_checkpoint(copy_of_project, signum, code):
    out = copy_of_project / "models" / "pretrained.safetensors"
    write_params(copy_of_project, LONG | {"pretrain.steps": 100_000})
    out.unlink()

    def stop():
        wait_for(lambda: newest(copy_of_project) >= 10)
        os.kill(os.getpid(), signum)

    done = run("srgan", "pretrain", cwd=copy_of_project, check=False, meanwhile=stop)
    assert done.returncode == code, done.stderr
    assert not out.exists()
    assert "continues from the checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def newest(folder: Path) -> int:
    """The step of the last checkpoint."""
    return max((int(path.stem[5:]) for path in (folder / "checkpoints" / "pretrain").glob("step-*.pt")), default=0)


@pytest.mark.slow
def test_the_command_killed_and_run_again_gives_identical_weights(copy_of_project, tmp_path):
    write_params(copy_of_project, LONG)
    straight = Path(shutil.copytree(copy_of_project, tmp_path / "straight", symlinks=True))
    with start("srgan", "pretrain", cwd=copy_of_project) as process:
        wait_for(lambda: newest(copy_of_project) >= 20)
        process.kill()
    for folder in (copy_of_project, straight):
        done = run("srgan", "pretrain", cwd=folder)
        assert ("resumes after step" in done.stderr) == (folder == copy_of_project)
    for name in ("models/pretrained.safetensors", "reports/pretrain.csv", "reports/pretrain_validation.csv"):
        assert (copy_of_project / name).read_bytes() == (straight / name).read_bytes()
