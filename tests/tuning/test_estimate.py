import re
import subprocess
import sys

import pytest
import torch

from srgan.config import schema
from srgan.config.project import Project
from srgan.images.read import read_image
from srgan.training.trainer import Trainer
from srgan.tuning import estimate as planning
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params

# The process says its peak itself: what `getrusage` tells of a new process is never less than its parent's own.
PEAK = """
import sys
from srgan.utils import machine
machine.keep_freed_memory()
from srgan.config import schema as params
from srgan.inference import benchmark as speed
from srgan.tuning import estimate as planning
trainer = planning._trainer(params.load(sys.argv[1]), sys.argv[2])
import srgan.tracking.mlflow_run
for step in (1, 2):
    trainer.step(step)
print(speed.peak_memory())
"""

ESTIMATE = """
import sys
from srgan.utils import machine
machine.keep_freed_memory()
from srgan.config import schema as params
from srgan.tuning import estimate as planning
print(planning.plan(params.load(sys.argv[1]), sys.argv[2], probe=False).memory)
"""

LARGE = {"model": {"name": "srresnet", "features": 64, "depth": 4, "upsampling": "pixelshuffle"}, "train.discriminator.features": 24}


@pytest.mark.slow
def test_the_estimate_of_the_memory_is_near_what_a_training_takes(tmp_path):
    stage = "train"
    path = write_params(tmp_path, LARGE | {f"{stage}.batch_size": 12, f"{stage}.patch_size": 96})
    peaks = []
    for code in (PEAK, ESTIMATE):
        command = [sys.executable, "-c", code, str(path), stage]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=120)
        peaks.append(float(done.stdout))
    measured, estimate = peaks
    assert measured > 7e8
    assert estimate == pytest.approx(measured, rel=0.2)


@pytest.mark.slow
def test_parts_and_recomputation_take_less_memory(tmp_path):
    model = {"model": {"name": "rrdb", "features": 16, "growth": 8, "depth": 4}}
    peaks = {}
    for name, changes in {
        "whole": {},
        "parts": {"pretrain.gradient_accumulation": 4},
        "recompute": {"runtime.pretrain.activation_checkpointing": True},
    }.items():
        peaks[name] = planning.peak_of_tensors(
            schema.load(write_params(tmp_path, model | {"pretrain.batch_size": 8} | changes)), "pretrain"
        )
    assert peaks["parts"] < 0.5 * peaks["whole"]
    assert peaks["recompute"] < 0.7 * peaks["whole"]


def test_a_plan_says_how_long_it_takes_and_what_to_do_if_it_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "STEPS", 4)
    loaded = schema.load(write_params(tmp_path, {"pretrain.steps": 7200}))
    text = str(planning.plan(loaded, "pretrain"))
    assert re.fullmatch(
        r"pretrain: 4,328 weights, \d\.\d GB of memory at the peak, \d+\.\d GB are free \([^()]+\); "
        r"7,200 steps at \S+ a second: \d:\d\d:\d\d, and validations",
        text,
    )
    monkeypatch.setattr(planning, "peak_of_tensors", lambda *_: 1e15)
    monkeypatch.setattr(planning, "measured_rate", None)  # would fail if called
    assert "this is too much. Raise pretrain.gradient_accumulation, lower pretrain.batch_size or patch_size" in str(
        planning.plan(loaded, "pretrain")
    )


@pytest.mark.slow
def test_the_command_plans_the_parameter_file_and_profiles(tmp_path):
    write_params(tmp_path)
    run("srgan", "download", cwd=tmp_path)
    done = run("srgan", "plan", cwd=tmp_path)
    assert [line.split(":")[0].strip() for line in done.stdout.splitlines()] == ["params.yaml", "data/raw", "disk", "pretrain", "train"]
    assert "data/raw: 14 train and 3 test images. 0 files or folders left out" in done.stdout
    done = run("srgan", "plan", "dem", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "did you mean demo?" in done.stderr


@pytest.mark.slow
def test_the_memory_of_a_validation_grows_with_the_image_up_to_a_tile(tmp_path):
    params = schema.load(write_params(tmp_path, {"train.losses": [{"name": "hinge"}]}))
    kept = planning.peak_of_validation(params, "train", 64 * 64, 0)
    lines = [planning.peak_of_validation(params, "train", pixels, 0) for pixels in (2e6, 8e6, 6e6)]
    assert lines[1] - lines[0] == pytest.approx(1.5 * (lines[2] - lines[0]))
    # At least an LR pixel with the 8 channels of the network, and its 16 SR pixels with three.
    assert (lines[1] - lines[0]) / 6e6 > planning.BUFFERS * 4 * (8 / 16 + 3)
    assert kept < lines[0]
    largest = 16 * planning.TILE**2  # a larger image is upscaled in tiles
    assert planning.peak_of_validation(params, "train", largest, 0) == planning.peak_of_validation(params, "train", 4 * largest, 0)


def test_a_cuda_graph_keeps_the_memory_of_a_step_beside_a_validation(tmp_path, monkeypatch):
    params = schema.load(write_params(tmp_path))
    without = planning.peak_of_validation(params, "pretrain", 64 * 64, 1e9)
    assert without < 1e8
    init = Trainer.__init__

    def with_graph(self, *arguments, **options):
        init(self, *arguments, **options)
        self.graph = self._update

    monkeypatch.setattr(Trainer, "__init__", with_graph)
    assert 9e8 < planning.peak_of_validation(params, "pretrain", 64 * 64, 1e9) < 1e9 + without


def test_a_plan_whose_validation_does_not_fit_names_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "peak_of_tensors", lambda *_: 0.0)
    monkeypatch.setattr(planning, "peak_of_validation", lambda *_: 1e15)
    monkeypatch.setattr(planning, "measured_rate", None)  # would fail if called
    text = str(planning.plan(schema.load(write_params(tmp_path)), "pretrain"))
    assert re.search(r"\b100000[0-2]\.\d GB of memory at the peak", text)  # a million, and the process
    assert text.endswith(
        "this is too much for the validation of an image with 2.8 million pixels. Leave large images out of the data, or choose a smaller "
        "network"
    )


def test_the_plan_of_a_project_knows_its_images(project):
    data = planning.prepared_data(Project(project))
    sizes = [read_image(path).shape for path in (project / "data" / "prepared" / "validation").glob("*/hr/*.png")]
    assert data.validation == max(height * width for height, width, *_ in sizes)
    assert data.pixels == (project / "data" / "prepared" / "train" / "00000.u8").stat().st_size
    assert planning.prepared_data(Project(project / "nothing")) == planning.Data()


def test_the_free_memory_of_a_gpu_is_read_after_the_cache_is_emptied(monkeypatch):
    free = {"bytes": 10e9}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.update(bytes=24e9))  # PyTorch kept 14 GB of an earlier plan
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"], 24e9))
    cases = ((None, 0, 12e9), (7e9, 0, 17e9), (13e9, 0, 24e9), (13e9, 2, 24e9 - 2**31), (7e9, 20, 17e9))
    for pixels, window, expected in cases:  # unknown, on the GPU, too large for it, a window of it, a window as large as the store
        free["bytes"] = 10e9
        assert planning._free_on_gpu(torch.device("cuda"), planning.Data(pixels=pixels), window) == expected
