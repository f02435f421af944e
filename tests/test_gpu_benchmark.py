"""`benchmarks/gpu.py` needs a GPU that is rarely there, so its dry run keeps it working."""

import json
import subprocess
import sys

import pytest

from tests.helpers.commands import environment
from tests.helpers.project import ROOT, script


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_part_of_the_gpu_benchmark_runs_without_a_gpu(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--cpu", "--budget", "1100", "--out", tmp_path]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert [line for line in findings if line["kind"] == "FAIL"] == [], ended.stdout
    assert ended.returncode == 0
    assert {line["name"].split(",")[0] for line in findings} == set(script("gpu").PARTS)
    assert not [line for line in findings if "no time was left" in line["text"]]
