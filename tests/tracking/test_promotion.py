import json
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from srgan.config import schema
from srgan.config.delivery import Promote
from srgan.config.project import Project
from srgan.inference.upscaler import Upscaler
from srgan.metrics.registry import METRICS
from srgan.tracking import champions, promotion, registry
from srgan.utils.errors import SrganError
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params

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
            row = dict.fromkeys(METRICS, 0.0) | {"set": "s", "model": model, "image": f"{n:03}", "color_shift": 0.1, "checkerboard": 0.2}
            row |= {figure: base[figure][n] for figure in base}
            for figure, difference in differences.items():
                row[figure] += difference[n] if isinstance(difference, np.ndarray) else difference
            rows.append(row)
    return pd.DataFrame(rows)


def broken(table, cost=COST, tags=TAGS, rules=RULES):
    return [check.name for check in promotion.check_rules(table, cost, tags, rules) if not check.passed]


def test_better_by_more_than_chance_is_better():
    noise = np.random.default_rng(1).normal(0, 0.01, 20)
    sure = scores(bicubic={}, champion={}, challenger={"lpips": -0.02 + noise})
    assert broken(sure) == []
    (primary, *_) = promotion.check_rules(sure, COST, TAGS, RULES)
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
        ({"hatch": 0.6}, {}, TAGS, "hatch"),
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
    assert broken(scores(bicubic={"psnr_y": np.inf}, challenger={"psnr_y": np.inf})) == []  # equal images


# -- against a real registry -----------------------------------------------------------------------------------------------


def client(folder):
    return MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")


def champion(folder):
    return str(client(folder).get_model_version_by_alias("srgan-x4", "champion").version)


@pytest.mark.slow
def test_the_whole_way_from_challenger_to_champion_and_back(copy_of_project, monkeypatch, caplog):
    monkeypatch.chdir(copy_of_project)
    folder = copy_of_project
    loose = {"promote.metric": "psnr_y", "promote.max_psnr_y_drop": 40.0, "promote.max_checkerboard_rise": 100.0}
    loose |= {"promote.max_hatch_rise": 100.0, "promote.max_color_shift_rise": 200.0, "promote.max_time_ratio": 50.0}
    write_params(folder, loose)
    assert "nothing" not in run("srgan", "promote", "--dry-run", cwd=folder).stdout
    page = (folder / "reports" / "promotion.md").read_text()
    assert "version 1 would be promoted" in page
    assert "Champion: none yet" in page
    with pytest.raises(Exception, match="champion"):
        champion(folder)

    write_params(
        folder, loose | {"promote.max_psnr_y_drop": 0.0, "promote.max_checkerboard_rise": 0.0, "promote.max_color_shift_rise": 0.0}
    )
    done = run("srgan", "promote", cwd=folder, check=False)
    assert done.returncode == 3
    assert "held" in done.stdout
    assert "FAILED" in done.stdout
    first = client(folder).get_model_version("srgan-x4", "1")
    assert first.tags["srgan.decision"] == "held"
    assert "worse" in first.tags["srgan.decision.reason"]

    write_params(folder, loose)
    assert "promoted" in run("srgan", "promote", cwd=folder).stdout
    assert champion(folder) == "1"
    assert client(folder).get_model_version("srgan-x4", "1").tags["srgan.decision"] == "promoted"
    consumer = Upscaler(registry.AliasTracker(Project(), "models:/srgan-x4@champion", period=0))
    assert consumer.refresh() is consumer
    assert "version 1 is the champion already" in run("srgan", "promote", cwd=folder).stdout
    done = run("srgan", "rollback", cwd=folder, check=False)
    assert done.returncode == 1
    assert "there is no previous champion" in done.stderr

    # Another training, the same images: the champion's registered scores still count.
    write_params(folder, loose | {"train.seed": 5})
    for stage in ("train", "export", "evaluate", "report", "register"):
        run("srgan", stage, cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "registered scores" in done.stderr
    assert "psnr_y: better by" in done.stdout
    assert "of 3 images" in done.stdout
    done = run("srgan", "promote", "--force", cwd=folder, check=False)
    assert "--force and --reason need each other" in done.stderr
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
    assert "the former model stays in use" in caplog.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    # Other images: both are scored again.
    write_params(folder, loose | {"train.seed": 5, "prepare.test": 0.1})
    run("srgan", "prepare", cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "scoring challenger, champion" in done.stderr


PROMOTE = """
import sys
from srgan.config.project import Project
from srgan.tracking import champions
from srgan.utils.errors import SrganError
champions.SETTLE_SECONDS = 2.0
try:
    champions.set_champion(Project(), "srgan-x4", "1", None)
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
    assert "Nothing was changed" in told[0]
    assert champion(folder) == "1"
    assert champions.LOCK_TAG not in client(folder).get_registered_model("srgan-x4").tags


def test_the_tags_keep_the_names_under_which_registries_hold_them():
    assert (champions.CHAMPIONS_TAG, champions.LOCK_TAG) == ("srgan.champions", "srgan.promotion")


def test_a_promotion_that_died_does_not_block_for_ever(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    monkeypatch.setattr(champions, "SETTLE_SECONDS", 0.0)
    store = client(copy_of_project)
    store.set_registered_model_tag("srgan-x4", champions.LOCK_TAG, f"somebody@{time.time():.0f}")
    with pytest.raises(SrganError, match=r"another promotion runs \(somebody\)"):
        champions.set_champion(Project(), "srgan-x4", "1", None)
    store.set_registered_model_tag("srgan-x4", champions.LOCK_TAG, f"somebody@{time.time() - 1000:.0f}")
    champions.set_champion(Project(), "srgan-x4", "1", None)
    assert champion(copy_of_project) == "1"
    with pytest.raises(SrganError, match="version 1 became the champion in the meantime"):
        champions.set_champion(Project(), "srgan-x4", "1", None)


@pytest.mark.parametrize("mark", ["somebody@{later}", "somebody@noon", "@", "somebody"])
def test_a_mark_of_another_clock_blocks_nobody(copy_of_project, monkeypatch, mark):
    monkeypatch.chdir(copy_of_project)
    monkeypatch.setattr(champions, "SETTLE_SECONDS", 0.0)
    store = client(copy_of_project)
    store.set_registered_model_tag("srgan-x4", champions.LOCK_TAG, mark.format(later=f"{time.time() + 3600:.0f}"))
    champions.set_champion(Project(), "srgan-x4", "1", None)
    assert champion(copy_of_project) == "1"


@pytest.mark.parametrize("killed_in", ["set_alias", "_write"])
def test_a_version_that_never_was_champion_is_none_to_go_back_to(copy_of_project, monkeypatch, killed_in):
    """Promotion and rollback are killed between the alias and the list of champions."""
    monkeypatch.chdir(copy_of_project)
    monkeypatch.setattr(champions, "SETTLE_SECONDS", 0.0)
    store = client(copy_of_project)
    store.create_model_version("srgan-x4", (copy_of_project / "models").as_uri())
    champions.set_champion(Project(), "srgan-x4", "1", None)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(champions, killed_in, killed)
        champions.set_champion(Project(), "srgan-x4", "2", "1")
    if champion(copy_of_project) == "1":
        with pytest.raises(SrganError, match="no previous champion"):
            champions.restore_previous(Project(), "srgan-x4")
        champions.set_champion(Project(), "srgan-x4", "2", "1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(champions, killed_in, killed)
        champions.restore_previous(Project(), "srgan-x4")
    if champion(copy_of_project) == "2":
        assert champions.restore_previous(Project(), "srgan-x4") == ("2", "1")
    with pytest.raises(SrganError, match="no previous champion"):
        champions.restore_previous(Project(), "srgan-x4")


def second_challenger(store):
    """Register version 1 a second time, as another model. Return the version, which is the challenger."""
    first = store.get_model_version("srgan-x4", "1")
    tags = {key: value for key, value in first.tags.items() if not key.startswith("srgan.decision")}
    second = store.create_model_version("srgan-x4", first.source, first.run_id, tags | {registry.DIGEST_TAG: "0" * 64})
    store.set_registered_model_alias("srgan-x4", "challenger", second.version)
    return str(second.version)


@pytest.mark.slow
def test_a_champion_moved_by_hand_is_noticed(copy_of_project):
    """On MLflow's page, by its alias: MLflow's usual way."""
    folder, store = copy_of_project, client(copy_of_project)
    run("srgan", "promote", "--force", "--reason", "test", cwd=folder)
    assert second_challenger(store) == "2"
    store.set_registered_model_alias("srgan-x4", "champion", "2")
    done = run("srgan", "promote", cwd=folder)
    assert "version 2 is the champion already" in done.stdout
    assert "The list of champions is now 1, 2" in done.stderr
    assert store.get_registered_model("srgan-x4").tags[champions.CHAMPIONS_TAG] == "1,2"
    store.set_registered_model_tag("srgan-x4", champions.CHAMPIONS_TAG, "9,1")  # as before `promote` looked; version 9 was deleted since
    assert "version 1 is the champion again, version 2 no longer" in run("srgan", "rollback", cwd=folder).stdout
    assert champion(folder) == "1"
    store.delete_registered_model_alias("srgan-x4", "champion")
    assert "version 1 is the champion again, where there was none" in run("srgan", "rollback", cwd=folder).stdout
    assert champion(folder) == "1"


def test_a_flow_refuses_the_challenger_of_another_working_copy(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    second_challenger(client(copy_of_project))
    with pytest.raises(SrganError, match="the challenger, version 2, is not the model of this working copy"):
        promotion.promote(Project(), schema.load(), own=True)


@pytest.mark.slow
def test_the_challenger_of_another_working_copy_is_named(copy_of_project, tmp_path, monkeypatch):
    folder, other = copy_of_project, shutil.copytree(copy_of_project, tmp_path / "other", symlinks=True)
    uri = f"sqlite:///{tmp_path}/team.db"
    write_params(other, {"export.license": "another"})
    run("srgan", "register", cwd=folder, MLFLOW_TRACKING_URI=uri)
    for stage in ("export", "evaluate", "register"):
        run("srgan", stage, cwd=other, MLFLOW_TRACKING_URI=uri)
    note = "srgan-x4: the challenger, version 2, is not the model of this working copy (reports/export.json: 4x-demo-compact-fp32.onnx)"
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False, MLFLOW_TRACKING_URI=uri)
    assert note in done.stderr
    assert "not the model of this working copy" in (folder / "reports" / "promotion.md").read_text()
    assert "not the model" not in run("srgan", "promote", "--dry-run", cwd=other, check=False, MLFLOW_TRACKING_URI=uri).stderr
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SrganError, match=re.escape(f"{note}; make that the challenger with: dvc repro register")):
        promotion.promote(Project(), schema.load(), own=True)  # as the flow `refresh` does


@pytest.mark.slow
def test_the_alias_of_a_former_image_service_does_not_stay_behind(copy_of_project):
    """Former releases kept a second model for it; whoever serves that is not to serve an old champion for ever."""
    store = client(copy_of_project)
    store.create_registered_model("srgan-x4-images")
    old = store.create_model_version("srgan-x4-images", store.get_model_version("srgan-x4", "1").source)
    for alias in ("champion", "challenger"):
        store.set_registered_model_alias("srgan-x4-images", alias, old.version)
    done = run("srgan", "promote", "--force", "--reason", "test", cwd=copy_of_project)
    assert "srgan-x4-images is no longer needed, as srgan-x4 serves images itself" in done.stderr
    assert list(store.get_registered_model("srgan-x4-images").aliases) == ["challenger"]  # until that is given again


def test_a_registered_file_that_is_damaged_is_not_used(copy_of_project, tmp_path):
    (model,) = (copy_of_project / "mlflow" / "artifacts").rglob("*.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    photograph = next((copy_of_project / "data/prepared/test/sample/lr").glob("*.png"))
    for command in (("upscale", photograph, "-o", tmp_path / "big.png", "--model", "models:/srgan-x4/1"), ("promote",)):
        done = run("srgan", *command, cwd=copy_of_project, check=False)
        assert done.returncode == 1
        assert "models:/srgan-x4/1: 4x-demo-compact-fp32.onnx is damaged: its SHA-256 differs from the tag" in done.stderr


def test_without_a_server_or_challenger_it_is_said(copy_of_project, tmp_path):
    done = run("srgan", "promote", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 69
    assert "MLflow: " in done.stderr
    done = run("srgan", "promote", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/empty.db")
    assert "srgan-x4: no version has the alias challenger. Register one with: dvc repro register" in done.stderr
