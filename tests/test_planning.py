import re
import resource
import subprocess
import sys

import pytest
from conftest import environment, run, write_params

from srgan import params, planning, profiles

PEAK = """
import resource, sys
from dataclasses import replace
from srgan import params, planning
given = params.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
trainer = planning._trainer(given, sys.argv[2])
for step in (1, 2, 3):
    trainer.step(step)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""

LARGE = {"model": {"name": "srresnet", "features": 64, "depth": 4, "upsampling": "pixelshuffle"}}


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_the_estimate_of_the_memory_is_near_what_a_step_takes(tmp_path, stage):
    path = write_params(tmp_path, LARGE | {f"{stage}.batch": 16, f"{stage}.patch": 96, "train.discriminator.features": 32})
    estimate = planning.peak_of_tensors(params.load(path), stage)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), stage], env=environment(), capture_output=True, text=True, check=True, timeout=120
    )
    assert estimate > 2e8
    assert estimate == pytest.approx(float(done.stdout), rel=0.2)


def test_parts_and_recomputation_take_less_memory(tmp_path):
    model = {"model": {"name": "rrdb", "features": 16, "growth": 8, "depth": 4}}
    peaks = {}
    for name, changes in {"whole": {}, "parts": {"pretrain.accumulate": 4}, "recompute": {"pretrain.recompute": True}}.items():
        peaks[name] = planning.peak_of_tensors(params.load(write_params(tmp_path, model | {"pretrain.batch": 8} | changes)), "pretrain")
    assert peaks["parts"] < 0.5 * peaks["whole"]
    assert peaks["recompute"] < 0.6 * peaks["whole"]


def test_a_plan_says_how_long_it_takes_and_what_to_do_if_it_does_not_fit(tmp_path, monkeypatch):
    loaded = params.load(write_params(tmp_path, {"pretrain.steps": 7200}))
    text = str(planning.plan(loaded, "pretrain"))
    assert re.fullmatch(
        r"pretrain: 4,328 weights, 0\.\d GB of memory at the peak, \d+\.\d GB are free; 7,200 steps at \S+ a second: \d:\d\d:\d\d, and validations", text
    )
    monkeypatch.setattr(planning, "peak_of_tensors", lambda *_: 1e15)
    monkeypatch.setattr(planning, "measured_rate", None)  # would fail if called
    assert "too much; raise pretrain.accumulate, lower pretrain.batch or patch" in str(planning.plan(loaded, "pretrain"))


def test_the_command_plans_the_parameter_file_and_profiles(tmp_path):
    write_params(tmp_path)
    done = run("srgan", "plan", cwd=tmp_path)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["params.yaml", "pretrain", "train"]
    done = run("srgan", "plan", "dem", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "did you mean demo?" in done.stderr
