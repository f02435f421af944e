# ruff: noqa: F811 - fixtures of another file
import math

import pytest
import torch

from srgan.config import schema
from srgan.config.stabilization import Stabilization
from srgan.data.sampler import PatchSampler
from srgan.models.registry import build_discriminator
from srgan.training import cuda_graph
from srgan.training.cuda_graph import WARMUP_STEPS
from srgan.training.objectives import Objective
from srgan.training.stabilization import AVERAGED_STEPS, LARGEST_PROBABILITY, Stabilizer
from srgan.tuning.estimate import peak_of_tensors
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store
from tests.helpers.project import write_params
from tests.training.test_cuda_graph import assert_equal_states, changes, graphs, steps  # noqa: F401 - a fixture
from tests.training.test_trainer import equal, fit, go, interrupt, trainer, weights, world  # noqa: F401 - a fixture

CPU = torch.device("cpu")
ALL = {"pause_above": 0.51, "r1": 0.1, "r2": 0.1, "penalty_every": 2, "noise": 0.1, "augment_target": 0.1}


def section(**values):
    return {f"train.stabilization.{key}": value for key, value in values.items()}


def stabilizer(world, step_count=100, processes=1, rank=0, **options):
    sampler = PatchSampler(make_store(world[0]), 4 // processes, 32, 0, rank, processes)
    return Stabilizer(Stabilization(**options), step_count, sampler, CPU)


def test_all_methods_are_off_by_default_and_change_no_digest(world):
    subject = trainer(world, "train")
    assert subject.stabilizer is None
    assert "stabilizer" not in subject.state_dict()
    assert "stabilization" not in schema.identity(subject.options)
    assert not Stabilization(penalty_every=4).enabled


def test_the_discriminator_rests_while_its_accuracy_is_above_the_limit_and_the_generator_learns(world):
    subject = trainer(world, "train", section(pause_above=0.75))
    for accuracy, moves in ((0.8, False), (0.7, True)):
        subject.stabilizer.accuracy.fill_(accuracy)
        before, generator = weights(subject.networks["discriminator"].parallel), weights(subject.generator)
        parameters = [weight.detach().clone() for weight in subject.networks["discriminator"].parameters]
        subject.step(1)
        moved = [not torch.equal(one, other) for one, other in zip(parameters, subject.networks["discriminator"].parameters, strict=True)]
        assert all(moved) if moves else not any(moved)
        assert len(before) > len(parameters)  # the buffers of spectral normalization follow in each pass
        assert any(not torch.equal(one, other) for one, other in zip(generator, weights(subject.generator), strict=True))
        assert float(subject.running_sums["discriminator_paused"]) == (not moves)
        subject.running_sums.clear()


def test_the_average_of_the_accuracy_follows_both_kinds_of_images(world):
    subject = stabilizer(world, pause_above=0.9)
    for _ in range(5 * AVERAGED_STEPS):
        subject.update(torch.tensor(1.0), torch.tensor(0.6))
    assert subject.accuracy.tolist() == pytest.approx([1.0, 0.6], abs=0.01)


def test_the_gradient_penalty_has_the_value_of_its_formula():
    subject = Objective([], "cpu", torch.float32)
    kernel = torch.randn(1, 3, 3, 3)
    slope = torch.tensor(2.0, requires_grad=True)
    image = torch.rand(2, 3, 8, 8)
    found = subject.gradient_penalty(image, image, lambda pixels: (slope * torch.conv2d(pixels, kernel), []))
    one = torch.zeros(1, 3, 8, 8)
    for top in range(6):
        for left in range(6):
            one[:, :, top : top + 3, left : left + 3] += kernel / 36
    assert found.item() == pytest.approx(4 * one.square().sum().item(), rel=1e-4)  # of the mean logit
    found.backward()
    assert slope.grad.item() == pytest.approx(4 * one.square().sum().item(), rel=1e-4)  # the second derivative


@pytest.mark.parametrize("kind", ["patch", "unet"])
@pytest.mark.parametrize("condition", [False, True])
def test_the_penalties_make_the_discriminator_flatter_and_reach_no_other_network(world, kind, condition):
    torch.manual_seed(0)
    discriminator = build_discriminator(kind, features=4, condition=condition)
    subject = Objective([], "cpu", torch.float32, condition=condition)
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    lr_image = torch.rand(2, 3, 8, 8)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    values = []
    for _ in range(8):
        penalty = subject.gradient_penalty(image, lr_image, discriminator)
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        values.append(penalty.item())
    assert values[-1] < 0.7 * values[0]
    assert image.grad is None


def test_a_penalty_of_each_second_step_counts_twice(world):
    subject = trainer(world, "train", section(r1=3.0, penalty_every=2))
    for step in (1, 2):
        subject.step(step)
        logged = float(subject.running_sums["loss_r1"])
        assert (logged > 0) == (step == 2)
    inputs = [torch.rand(2, 3, 32, 32), torch.rand(2, 3, 8, 8)]
    single = subject.objective.gradient_penalty(*inputs, subject.discriminator.eval())
    images = subject.objective.compare(inputs[0], *inputs)
    values, total = subject.stabilizer.penalties(subject.objective, images, subject.discriminator, True)
    assert values["loss_r1"].item() == pytest.approx(2 * single.item(), rel=1e-4)
    assert total.item() == pytest.approx(3 * single.item(), rel=1e-4)  # weight / 2, twice
    assert "loss_r2" not in values


def test_batch_normalization_refuses_a_penalty(world):
    loaded = {"train.discriminator": {"name": "vgg"}, "train.stabilization.r2": 1.0}
    with pytest.raises(SrganError, match=r"train.stabilization.r2: is not for vgg: its batch normalization mixes the images"):
        schema.load(write_params(world[0], loaded))


def test_noise_falls_to_0_and_is_the_same_for_real_and_fake_images(world):
    subject = stabilizer(world, noise=0.2)
    (first,), _ = subject.draw(1, 32)
    (last,), _ = subject.draw(100, 32)
    assert first.std().item() == pytest.approx(0.2 * 0.99, rel=0.05)
    assert (last == 0).all()
    assert not torch.equal(subject.draw(2, 32)[0][0], first)
    image, condition = torch.rand(2, 4, 3, 32, 32)
    seen = subject.judge(lambda pixels: pixels, [first])
    assert torch.equal(seen(image), image + first)
    assert torch.equal(seen(torch.cat([image, condition], 1))[:, 3:], condition)


def test_the_draws_of_processes_are_parts_of_those_of_one(world):
    whole, _ = stabilizer(world, noise=0.2, augment_target=0.6).draw(3, 32)
    parts = [stabilizer(world, processes=2, rank=rank, noise=0.2, augment_target=0.6).draw(3, 32)[0] for rank in range(2)]
    for one, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(one, torch.cat([first, second]))


def test_the_augmentation_grows_with_overfitting_and_shrinks_again(world):
    subject = stabilizer(world, 40, augment_target=0.6)
    probabilities = []
    for accuracy in [1.0] * 40 + [0.5] * 40:
        subject.update(torch.tensor(accuracy), torch.tensor(1.0))
        probabilities.append(float(subject.values()["augmentation"]))
    assert max(probabilities) == pytest.approx(LARGEST_PROBABILITY)
    assert probabilities[0] == probabilities[-1] == 0
    assert all(abs(a - b) <= 0.1 + 1e-6 for a, b in zip(probabilities[1:], probabilities, strict=False))  # 1 in a quarter of 40 steps


def test_a_killed_training_with_all_methods_ends_in_the_same_weights(world):
    more = section(**ALL) | {"train.gradient_accumulation": 2}

    def strong():
        subject = trainer(world, "train", more)
        subject.stabilizer.accuracy.fill_(0.9)  # the discriminator pauses and the augmentation grows
        return subject

    straight = strong()
    expected = go(straight, world[0] / "straight")
    assert all(row["discriminator_paused"] and row["augmentation"] for row in straight.history)
    interrupt(strong(), world[0] / "broken", 3)
    assert equal(fit(world, "train", "broken", more), expected)
    for suffix in (".csv", "_validation.csv"):
        assert (world[0] / f"broken{suffix}").read_bytes() == (world[0] / f"straight{suffix}").read_bytes()


def test_each_method_changes_the_training(world):
    plain = trainer(world, "train")
    found = [weights(steps(trainer(world, "train"), 1, 4).discriminator)]
    for key in ("r1", "r2", "noise", "augment_target"):
        subject = trainer(world, "train", section(**{key: ALL[key], "penalty_every": 2}))
        found.append(weights(steps(subject, 1, 4).discriminator))
        assert all(math.isfinite(float(value)) for value in subject.running_sums.values())
    assert plain.stabilizer is None
    assert len({float(torch.cat([weight.flatten() for weight in each]).double().sum()) for each in found}) == len(found)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_all_methods_work_in_half_precision(world, precision):
    subject = steps(trainer(world, "train", section(**ALL) | {"train.precision": precision}), 1, 4)
    assert all(math.isfinite(float(value)) for value in subject.running_sums.values())
    assert float(subject.running_sums["loss_r1"]) > 0


def test_a_graph_contains_all_methods_and_leaves_out_the_steps_with_a_penalty(world, graphs):
    more = changes("train", **section(**(ALL | {"penalty_every": 5})))
    plain, subject = trainer(world, "train", more), trainer(world, "train", more | {"runtime.train.cuda_graph": "auto"})
    for each in (plain, subject):
        each.stabilizer.accuracy.fill_(0.9)
        steps(each, 1, 12)
    assert (graphs[-1].captures, graphs[-1].replays) == (1, 12 - WARMUP_STEPS - 2)  # steps 5 and 10 have a penalty
    assert float(plain.running_sums["discriminator_paused"]) > 0
    assert float(plain.running_sums["augmentation"]) > 0
    assert_equal_states(subject, plain)


def test_a_penalty_in_each_step_leaves_no_step_for_a_graph(world):
    options = schema.load(write_params(world[0], section(r1=1.0, penalty_every=1)))
    found = cuda_graph.obstacle(torch.device("cuda"), options.train)
    assert found == "each step has a gradient penalty (stabilization.penalty_every: 1)"


@pytest.mark.slow
def test_the_plan_counts_the_memory_of_a_penalty(world):
    peaks = [peak_of_tensors(schema.load(write_params(world[0], section(r1=value))), "train") for value in (0.0, 1.0)]
    assert peaks[1] > 1.05 * peaks[0]
