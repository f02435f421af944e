"""The fuzz tests find what they look for, and a small sample of the cases passes."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srgan.utils.errors import SrganError
from tests.fuzz import cases, driver
from tests.fuzz.cases import Case, SilentlyAccepted, Target
from tests.helpers.commands import environment
from tests.helpers.project import ROOT


class Faulty(Target):
    """Does what the case says."""

    name = "faulty"
    seconds = 1.0

    def build(self, folder):
        (folder / "seed.txt").write_text("seed")

    def fixed(self):
        return dict.fromkeys(("accepted", *self.ways()), bytes)

    def ways(self):
        def loop():
            while True:
                pass

        def refuse():
            raise SrganError("no")

        def use_damaged():
            raise SilentlyAccepted("other bytes")

        return {
            "refused": refuse,
            "silent": use_damaged,
            "internal": lambda: {}["key"],
            "crash": lambda: os.kill(os.getpid(), 11),
            "hang": loop,
            "escape": Path("../elsewhere").mkdir,
            "leftover": Path(".result.4711.tmp").mkdir,
            "memory": lambda: mmap.mmap(-1, 120 << 20).write(bytes(120 << 20)),  # not from what the heap has kept
        }

    def mutate(self, rng, seeds):
        return Case("seed.txt", seeds["seed.txt"] + rng.bytes(4))

    def check(self, case, folder):
        self.ways().get(case.name, time.time)()


def test_each_kind_of_failure_is_seen_and_attributed_to_its_case(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "MEMORY", 100 << 20)  # a gigabyte takes a busy machine longer than `Faulty.seconds`
    target = Faulty()
    driver.build(target, tmp_path / "seeds")
    seeds = driver.seeds_of(target, tmp_path / "seeds")
    numbers = range(len(target.fixed()) + 3)
    seen = dict(driver.run_all(target, tmp_path / "seeds", seeds, 0, numbers, 2, tmp_path))
    assert [seen[number].outcome for number in numbers] == [*target.fixed(), "accepted", "accepted", "accepted"]
    assert driver.case_of(target, 0, numbers[-1], seeds) == driver.case_of(target, 0, numbers[-1], seeds)


def sample(folder, *arguments):
    command = [sys.executable, "-m", "tests.fuzz", "--jobs", "1", "--no-fixed", "--save", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("targets", [("archives", "weights", "params"), ("pictures", "onnx")], ids=["quick", "others"])
def test_a_sample_of_the_cases_passes(tmp_path, targets):
    said = sample(tmp_path, "--cases", "10", *targets)
    for target in targets:
        assert f"{target:>10}{10:>10}" in said, said


@pytest.mark.slow
def test_damage_to_a_project_is_tried(tmp_path):
    said = sample(tmp_path, "--cases", "4", "damage")
    assert f"{'damage':>10}{4:>10}" in said, said
