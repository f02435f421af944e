import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from conftest import environment, run, write_params
from srgan import promotion, registry
from srgan.errors import SrganError
from srgan.figures import FIGURES
from srgan.inference import Upscaler
from srgan.params import Promote

RULES = Promote(
    metric="lpips", max_psnr_y_drop=0.5, max_color_shift_rise=0.5, max_checkerboard_rise=1.0, max_time_ratio=1.5, max_size_ratio=2.0
)
COST = {role: {"seconds_per_megapixel": 1.0, "megabytes": 2.0} for role in ("challenger", "champion")}
TAGS = {registry.DIFFERENCE_TAG: "1e-06"}


def scores(**models):
    """A table of twenty images: each model's figures as they differ from a base that varies from image to image."""
    random = np.random.default_rng(0)
    base = {"psnr_y": random.normal(28, 3, 20), "lpips": random.normal(0.2, 0.05, 20)}
    rows = []
    for model, differences in models.items():
        for n in range(20):
            row = dict.fromkeys(FIGURES, 0.0) | {"set": "s", "model": model, "image": f"{n:03}", "color_shift": 0.1, "checkerboard": 0.2}
            row |= {figure: base[figure][n] for figure in base}
            for figure, difference in differences.items():
                row[figure] += difference[n] if isinstance(difference, np.ndarray) else difference
            rows.append(row)
    return pd.DataFrame(rows)


def broken(table, cost=COST, tags=TAGS, rules=RULES):
    return [check.name for check in promotion.judge(table, cost, tags, rules) if not check.passed]


def test_better_by_more_than_chance_is_better():
    noise = np.random.default_rng(1).normal(0, 0.01, 20)
    sure = scores(bicubic={}, champion={}, challenger={"lpips": -0.02 + noise})
    assert broken(sure) == []
    (primary, *_) = promotion.judge(sure, COST, TAGS, RULES)
    assert primary.name == "lpips"
    assert "better by 0.0196 (0.0" in primary.found
    assert "of 20 images" in primary.found
    assert broken(scores(bicubic={}, champion={}, challenger={"lpips": -0.001 + noise})) == ["lpips"]  # by chance
    assert broken(scores(bicubic={}, champion={}, challenger={"lpips": 0.02 + noise})) == ["lpips"]
    assert broken(scores(bicubic={}, champion={}, challenger={"lpips": np.full(20, np.nan)})) == ["lpips"]


@pytest.mark.parametrize(
    ("differences", "cost", "tags", "name"),
    [
        ({"psnr_y": -0.6}, {}, TAGS, "psnr_y"),
        ({"color_shift": 0.6}, {}, TAGS, "color_shift"),
        ({"checkerboard": 1.1}, {}, TAGS, "checkerboard"),
        ({}, {"seconds_per_megapixel": 1.6}, TAGS, "seconds_per_megapixel"),
        ({}, {"megabytes": 4.1}, TAGS, "megabytes"),
        ({}, {}, {}, "onnx_parity"),
        ({}, {}, {registry.DIFFERENCE_TAG: "0.01"}, "onnx_parity"),
    ],
)
def test_each_guard_holds_it_alone(differences, cost, tags, name):
    table = scores(bicubic={}, champion={}, challenger={"lpips": -0.02} | differences)
    assert broken(table, COST | {"challenger": COST["challenger"] | cost}, tags) == [name]


def test_the_first_champion_is_held_against_bicubic():
    assert broken(scores(bicubic={}, challenger={"psnr_y": -0.4, "lpips": np.full(20, np.nan)})) == []
    assert broken(scores(bicubic={}, challenger={"psnr_y": -0.6})) == ["psnr_y"]


# -- against a real registry -----------------------------------------------------------------------------------------------


def client(folder):
    return MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")


def champion(folder):
    return str(client(folder).get_model_version_by_alias("srgan-x4", "champion").version)


def test_the_whole_way_from_challenger_to_champion_and_back(copy_of_project, monkeypatch, caplog):
    monkeypatch.chdir(copy_of_project)
    folder = copy_of_project
    loose = {"promote.metric": "psnr_y", "promote.max_psnr_y_drop": 40.0, "promote.max_checkerboard_rise": 100.0}
    loose |= {"promote.max_color_shift_rise": 200.0, "promote.max_time_ratio": 50.0}
    write_params(folder, loose)
    assert "nothing" not in run("srgan", "promote", "--dry-run", cwd=folder).stdout
    page = (folder / "reports" / "promotion.md").read_text()
    assert "version 1 would be promoted" in page
    assert "no champion yet" in page
    with pytest.raises(Exception, match="champion"):
        champion(folder)

    write_params(
        folder, loose | {"promote.max_psnr_y_drop": 0.0, "promote.max_checkerboard_rise": 0.0, "promote.max_color_shift_rise": 0.0}
    )
    done = run("srgan", "promote", cwd=folder, check=False)
    assert done.returncode == 3
    assert "held" in done.stdout
    assert "BROKEN" in done.stdout
    first = client(folder).get_model_version("srgan-x4", "1")
    assert first.tags["srgan.decision"] == "held"
    assert "worse" in first.tags["srgan.decision.reason"]

    write_params(folder, loose)
    assert "promoted" in run("srgan", "promote", cwd=folder).stdout
    assert champion(folder) == "1"
    assert client(folder).get_model_version("srgan-x4", "1").tags["srgan.decision"] == "promoted"
    consumer = Upscaler(registry.Followed("models:/srgan-x4@champion", period=0))
    assert consumer.refresh() is consumer
    assert "version 1 is the champion already" in run("srgan", "promote", cwd=folder).stdout
    done = run("srgan", "rollback", cwd=folder, check=False)
    assert done.returncode == 1
    assert "there is no former champion to go back to" in done.stderr

    # Another training, the same images: the champion's registered scores still count.
    write_params(folder, loose | {"train.seed": 5})
    for stage in ("train", "export", "evaluate", "report", "register"):
        run("srgan", stage, cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "as registered" in done.stderr
    assert "psnr_y: better by" in done.stdout
    assert "of 3 images" in done.stdout
    done = run("srgan", "promote", "--force", cwd=folder, check=False)
    assert "--force and --reason go together" in done.stderr
    run("srgan", "promote", "--force", "--reason", "the customer's choice", cwd=folder)
    assert champion(folder) == "2"
    second = client(folder).get_model_version("srgan-x4", "2")
    assert second.tags["srgan.decision.reason"].startswith("forced: the customer's choice")
    assert second.tags["srgan.decision.champion_before"] == "1"
    newer = consumer.refresh()
    assert newer.sha256 == second.tags[registry.DIGEST_TAG] != consumer.sha256
    assert newer.upscale(np.zeros((3, 4, 3), np.uint8)).shape == consumer.upscale(np.zeros((3, 4, 3), np.uint8)).shape == (12, 16, 3)
    assert json.loads(second.tags["srgan.decision.checks"])

    done = run("srgan", "rollback", "--reason", "complaints", cwd=folder)
    assert "version 1 is the champion again, version 2 no longer" in done.stdout
    assert champion(folder) == "1"
    assert client(folder).get_model_version("srgan-x4", "2").tags["srgan.decision.reason"] == "complaints"
    assert newer.refresh().sha256 == consumer.sha256
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert newer.refresh() is newer  # an outage: the model stays
    assert "the model stays the one of before" in caplog.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    # Other images: both are scored anew.
    write_params(folder, loose | {"train.seed": 5, "prepare.test": 0.1})
    run("srgan", "prepare", cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "challenger, champion anew" in done.stderr


PROMOTE = """
import sys
from srgan import registry
from srgan.errors import SrganError
registry.SETTLE_SECONDS = 2.0
try:
    registry.crown("srgan-x4", "1", None)
    print("won")
except SrganError as error:
    print(f"lost: {error}")
"""


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_both_are_told(copy_of_project):
    folder = copy_of_project
    processes = [
        subprocess.Popen([sys.executable, "-c", PROMOTE], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = sorted(process.communicate(timeout=100)[0].strip().splitlines()[-1] for process in processes)
    assert told[1] == "won"
    assert told[0].startswith("lost: srgan-x4: ")
    assert "nothing was changed" in told[0]
    assert champion(folder) == "1"
    assert registry.LOCK_TAG not in client(folder).get_registered_model("srgan-x4").tags


def test_a_promotion_that_died_does_not_block_for_ever(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    monkeypatch.setattr(registry, "SETTLE_SECONDS", 0.0)
    store = client(copy_of_project)
    store.set_registered_model_tag("srgan-x4", registry.LOCK_TAG, f"somebody@{time.time():.0f}")
    with pytest.raises(SrganError, match=r"another promotion is at work \(somebody\)"):
        registry.crown("srgan-x4", "1", None)
    store.set_registered_model_tag("srgan-x4", registry.LOCK_TAG, f"somebody@{time.time() - 1000:.0f}")
    registry.crown("srgan-x4", "1", None)
    assert champion(copy_of_project) == "1"
    with pytest.raises(SrganError, match="version 1 became the champion meanwhile"):
        registry.crown("srgan-x4", "1", None)


def test_without_a_server_or_challenger_it_is_said(copy_of_project, tmp_path):
    done = run("srgan", "promote", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 69
    assert "MLflow: " in done.stderr
    done = run("srgan", "promote", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/empty.db")
    assert "srgan-x4: no version has the alias challenger; one gets it by: dvc repro register" in done.stderr
