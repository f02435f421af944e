from dataclasses import replace
from pathlib import Path

import pytest

from srgan.config import profiles
from srgan.config.project import Project
from srgan.data.store_writer import SHARD_BYTES
from srgan.tuning import capacity
from srgan.tuning.capacity import Rates, losses, row, table
from srgan.tuning.failures import Conditions
from tests.helpers.commands import run
from tests.helpers.project import make_project

RATES = Rates("photographs", 5e5, 2e6, 3.2, 0.05, 2e-5, 0.1, 16, 96, 0.5, 16, "cuda")


def test_the_work_is_divided_by_nodes_and_cores():
    found = row(RATES, 1_000_000, 8)
    assert (found.files, found.store) == (pytest.approx(5e11), pytest.approx(6.4e12))
    assert found.shards == round(6.4e12 / SHARD_BYTES)
    assert found.prepare == pytest.approx(1_000_000 * 2 * 0.05 / (8 * 16))
    assert found.train == pytest.approx(1_000_000 * 2e6 / (16 * 96**2) * 0.1 / 8)
    assert found.upscale == pytest.approx(1_000_000 * 2 * 0.5 / 8)


def test_the_table_names_units_and_the_longest_part():
    *_, thousand, billion = table(RATES, [1000, 10**9], 8).splitlines()
    assert thousand == "| 1,000 | 500 MB | 6.4 GB | 6 | 0.781 s | 2.83 min | 2.08 min | 0.0278 | 0.655 | training |"
    assert billion.startswith("| 1,000,000,000 | 500 TB | 6.4 PB | 5,960,464 | 9.04 days |")
    cpu = table(replace(RATES, device="cpu", upscale=5.0), [1000], 8).splitlines()[-1]
    assert cpu.endswith("| 50.5 | 0 | upscaling |")


def test_shards_lose_less_than_shares_and_a_share_that_never_ends_is_told():
    text = losses(RATES, 1_000_000, 16)
    assert "prepare by shards: 6.7" in text
    assert "A failure loses 0.524 s, half of a shard of 1 GiB" in text
    assert "half of 8 images" in text
    shards, shares = (float(line.split(", +")[1].split("%")[0]) for line in text.splitlines()[1:3])
    assert shards < 5 < 90 < shares
    assert "no node is slow" in losses(RATES, 1000, 1)
    assert "hardly ever finished" in losses(replace(RATES, prepare=50.0), 10**6, 2, Conditions(hours=1))


@pytest.mark.slow
def test_the_command_measures_this_machine(tmp_path):
    folder = make_project(tmp_path / "project")
    done = run("srgan", "plan", "--images", "1000", "--images", "1000000", "--nodes", "4", cwd=folder)
    assert "14 photographs of the data set 'sample'" in done.stdout
    assert "| 1,000,000 |" in done.stdout
    assert "simulated for 1,000,000 images: a node fails every" in done.stdout
    refused = run("srgan", "plan", "--images", "10", "demo", "srgan-div2k", cwd=folder, check=False)
    assert "fits one profile" in refused.stderr


@pytest.mark.slow
def test_the_downloaded_images_are_measured_if_there_are_any(project, model):
    rates = capacity.measure(Project(project), profiles.load("demo"), Path(model))
    assert "images of" in rates.source
    assert 3 < rates.stored < 3.5  # HR pixels, and LR pixels of a sixteenth
    assert all(value > 0 for value in (rates.prepare, rates.draw, rates.train, rates.upscale))
