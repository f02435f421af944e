import copy
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from srgan.data.sampler import PatchSampler
from srgan.distributed import launch, process_group
from srgan.images.png import write_png
from srgan.utils.errors import SrganError
from tests.data.test_packed_store import make_store
from tests.helpers import together
from tests.helpers.commands import environment, wait_for
from tests.helpers.project import ROOT, runtime, write_params
from tests.helpers.recipes import SECOND_ORDER
from tests.training.test_trainer import newest


def start(folder: Path, stage: str) -> subprocess.Popen:
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "srgan"), stage],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ranks(count: int, *command: object) -> list[subprocess.Popen]:
    """Processes of `together.py`, without `torchrun`, which takes its time."""
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, "-m", together.__name__, *map(str, command)],
            cwd=ROOT,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_batch(tmp_path):
    for folder in (tmp_path, tmp_path / "alone"):
        (folder / "recipe").mkdir(parents=True)
        make_store(folder)
        make_store(folder / "recipe", recipe=SECOND_ORDER, variants=0)
    processes = ranks(2, "steps", tmp_path)
    alone = {name: together.train(tmp_path / "alone", 4, kind) for name, kind in together.KINDS.items()}
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second  # all processes hold the same weights, and know the same figures
    for name, (rows, weights) in alone.items():
        for step, (ours, theirs) in enumerate(zip(first[name]["rows"], rows, strict=True), 1):
            for key, value in theirs.items():
                if key.startswith("loss"):
                    assert ours[key] == pytest.approx(value, abs=1e-4), (name, step, key)
                if key.startswith("gradient"):
                    assert ours[key] == pytest.approx(value, rel=1e-2), (name, step, key)
        for ours, theirs in zip(first[name]["weights"], weights, strict=True):
            assert ours == pytest.approx(theirs.double().sum().item(), abs=1e-2)


def test_between_them_they_see_the_batch_that_one_alone_would_see(tmp_path):
    store = make_store(tmp_path)
    whole = PatchSampler(store, 6, 32, seed=3)
    for step in (0, 1, 7):
        for shares in (2, 3):
            parts = [PatchSampler(store, 6 // shares, 32, 3, rank, shares) for rank in range(shares)]
            for which in (0, 1):
                assert (whole(step)[which] == [crop for part in parts for crop in part(step)[which]]).all()
            assert (whole.color_gains(step, 0.5) == [gain for part in parts for gain in part.color_gains(step, 0.5)]).all()


LONG = {"pretrain.steps": 400} | runtime("pretrain", nproc_per_node=2, log_every=10, validate_every=200, checkpoint_every=10)


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "RANK" in child.environ()]


def listening(process: subprocess.Popen) -> list[Any]:
    """The addresses at which a command and the processes that it started wait for connections."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return [each.laddr for member in family for each in member.net_connections("inet") if each.status == psutil.CONN_LISTEN]


@pytest.mark.slow
def test_killed_and_stopped_again_and_again_the_run_ends_well(copy_of_project):
    """A process, the command, `torchrun`'s agent: whatever is ended, nothing is left behind and the next one goes on."""
    write_params(copy_of_project, LONG)
    process = start(copy_of_project, "pretrain")
    wait_for(lambda: newest(copy_of_project) >= 20)
    assert {place.ip for place in listening(process)} == {"127.0.0.1"}  # no other machine reaches them
    next(child for child in workers(process) if child.environ()["RANK"] == "1").kill()
    wait_for(lambda: newest(copy_of_project) >= 40)
    started = workers(process)
    assert len(started) == 2
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "process 1 of 2 was ended by SIGKILL; all start again from the last checkpoint (1 of at most 3 times)" in output
    assert output.count("continues from the checkpoint") == 1
    assert "Traceback" not in output
    assert not any(child.is_running() for child in started)

    before = newest(copy_of_project)
    process = start(copy_of_project, "pretrain")
    wait_for(lambda: newest(copy_of_project) > before)
    started = workers(process)
    process.kill()
    process.communicate()
    psutil.wait_procs(started, timeout=60)
    assert not any(child.is_running() for child in started)

    process = start(copy_of_project, "pretrain")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    rows = (copy_of_project / "reports" / "pretrain.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(10, LONG["pretrain.steps"] + 1, 10))


@pytest.mark.slow
def test_one_that_is_told_to_stop_stops_all_and_others_go_on_however_many(tmp_path):
    make_store(tmp_path)
    random = np.random.default_rng(0)
    write_png(tmp_path / "lr.png", random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    write_png(tmp_path / "hr.png", random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    write_params(tmp_path, {"pretrain.steps": 12})
    for process in ranks(2, "fit", tmp_path, 7):
        output, _ = process.communicate(timeout=60)
        assert "interrupted by SIGTERM" in output
    assert (tmp_path / "checkpoints" / "step-00000007.pt").is_file()
    results = {}
    for count in (1, 4):
        copy = Path(shutil.copytree(tmp_path, tmp_path / f"with{count}", ignore=shutil.ignore_patterns("with*")))
        said = []
        for process in ranks(count, "fit", copy):
            said.append(process.communicate(timeout=60)[0])
            assert process.returncode == 0, said[-1]
        now = f"now {count} run. A step now has {2 * count} patches instead of 4"
        assert f"2 processes wrote the checkpoint of step 7, {now}" in said[0]
        assert not any(said[1:])
        results[count] = (copy / "losses.csv").read_text().splitlines()
    assert len(results[1]) == len(results[4]) == 7
    assert results[1][:4] == results[4][:4]  # the header, and steps 2, 4, 6
    assert results[1][4:] != results[4][4:]


@pytest.mark.slow
def test_an_error_ends_all_processes_at_once(copy_of_project):
    write_params(copy_of_project, LONG)
    (copy_of_project / "data" / "prepared" / "train" / "00000.u8").unlink()
    process = start(copy_of_project, "pretrain")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "00000.u8" in output
    assert "Traceback" not in output
    assert "start again" not in output


class Reads(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors: on a GPU it would wait for each."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def two_equal(monkeypatch):
    """Two processes with equal values: a sum is twice that of one."""
    monkeypatch.setattr(process_group, "size", lambda: 2)
    monkeypatch.setattr(process_group.dist, "all_reduce", lambda value: value.mul_(2))


@pytest.mark.parametrize("together", [True, False])
def test_batch_normalization_of_several_processes_never_waits_for_the_device(two_equal, together):
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 5, requires_grad=True), torch.randn(4, 3, 5, 5)
    twice = torch.cat([images[0], images[0]]).detach().requires_grad_()
    alone = nn.Sequential(nn.BatchNorm2d(3))
    model = process_group.sync_batch_norm(copy.deepcopy(alone), together)
    with Reads() as reads:
        results = [model(image) for image in images]
        (results[0].square() * torch.linspace(0, 1, 5)).sum().backward()
    assert reads.count == 0
    expected = [alone(twice), alone(torch.cat([images[1], images[1]]))]
    assert torch.allclose(results[0], expected[0][:4], atol=1e-5)
    assert torch.allclose(results[1], expected[1][:4], atol=1e-5)
    (expected[0].square() * torch.linspace(0, 1, 5)).sum().backward()
    assert torch.allclose(images[0].grad, twice.grad[:4], atol=1e-4)
    assert torch.allclose(model[0].running_mean, alone[0].running_mean, atol=1e-6)
    assert torch.allclose(model[0].running_var, alone[0].running_var, rtol=1e-2)  # of 100 values instead of 200
    assert list(model.state_dict()) == list(alone.state_dict())


def test_processes_that_normalize_apart_keep_equal_running_statistics(monkeypatch):
    """The other process has statistics of zero, so the mean of both is half of the own ones."""
    monkeypatch.setattr(process_group, "size", lambda: 2)
    monkeypatch.setattr(process_group.dist, "all_reduce", lambda value: value)
    images, alone = torch.randn(4, 3, 5, 5), nn.BatchNorm2d(3)
    model = process_group.sync_batch_norm(copy.deepcopy(alone), together=False)
    assert torch.equal(model(images), alone(images))
    assert torch.equal(model.running_mean, alone.running_mean / 2)
    assert torch.equal(model.running_var, alone.running_var / 2)
    model.eval()(images)
    assert torch.equal(model.running_mean, alone.running_mean / 2)


def test_weights_that_have_drifted_apart_are_an_error(monkeypatch):
    monkeypatch.setattr(process_group, "size", lambda: 2)
    monkeypatch.setattr(process_group, "all_gather", lambda items: [*items, "another"])
    with pytest.raises(SrganError, match="trained different weights"):
        process_group.require_equal_weights({"weight": torch.zeros(2)})


def test_a_stage_that_another_users_process_has_adopted_starts_without_an_error(monkeypatch):
    def denied(self):
        raise psutil.AccessDenied(self.pid)

    watched = []
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(psutil.Process, "environ", denied)
    monkeypatch.setattr(launch, "exit_when", watched.append)
    launch.exit_with_parent()
    assert watched == [psutil.Process().parent()]


def test_a_process_that_got_the_number_of_the_starter_is_not_taken_for_it(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    starter, told = psutil.Process(child.pid), threading.Event()
    monkeypatch.setattr(starter, "status", lambda: psutil.STATUS_RUNNING)  # as the other one's would be
    former = signal.signal(signal.SIGTERM, lambda *_: told.set())
    launch.exit_when(starter)
    child.communicate()
    assert told.wait(10)
    signal.signal(signal.SIGTERM, former)
