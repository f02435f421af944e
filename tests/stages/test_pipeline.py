"""What a user sees who types `dvc repro`, and types it again."""

import csv
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image

from srgan.config import recorded, schema
from srgan.metrics.registry import METRICS
from tests.helpers.commands import environment, run
from tests.helpers.project import make_project, write_params

STAGES = ["download", "prepare", "pretrain", "train", "export", "evaluate", "report", "register"]

FIGURES = list(METRICS)


def ran(output):
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def test_the_first_run_runs_all_and_the_second_only_looks_at_the_registry(project, copy_of_project):
    assert ran((project / "dvc_plots" / "repro.log").read_text()) == STAGES
    done = run("dvc", "repro", cwd=copy_of_project)
    assert ran(done.stdout) == ["register"]
    assert "srgan-x4 version 1 has the alias challenger" in done.stderr


def test_nothing_is_left_behind_but_the_lock_file(project):
    assert run("git", "status", "--porcelain", cwd=project).stdout == "?? dvc.lock\n"


def test_a_change_of_train_leaves_pretrain_alone(copy_of_project):
    write_params(copy_of_project, {"train.losses.relativistic.weight": 0.5, "train.steps": 4})
    assert ran(run("dvc", "repro", "train", cwd=copy_of_project).stdout) == ["train"]
    assert {"export", "evaluate"} <= set(json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout))  # what follows
    # And MLflow has two runs, each with its own curve: nothing of the old one in the new one.
    mlflow = MlflowClient(f"sqlite:///{copy_of_project}/mlflow/mlflow.db")
    new, old = mlflow.search_runs([mlflow.get_experiment_by_name("srgan").experiment_id], order_by=["attributes.start_time DESC"])
    for found, steps, value in ((new, [2, 4], "0.5"), (old, [2, 4, 6], "0.15")):
        assert found.data.params["train.losses.relativistic.weight"] == value
        assert [point.step for point in mlflow.get_metric_history(found.info.run_id, "train/loss_l1")] == steps
    assert not mlflow.get_metric_history(new.info.run_id, "sample/psnr_y")  # not scored yet


def test_how_a_training_runs_makes_dvc_run_nothing(copy_of_project):
    changes = {"log_every": 5, "validate_every": 4, "checkpoint_every": 5, "rollbacks": 1, "nproc_per_node": 2}
    write_params(copy_of_project, {f"runtime.{stage}.{key}": value for stage in ("pretrain", "train") for key, value in changes.items()})
    assert ran(run("dvc", "repro", cwd=copy_of_project).stdout) == ["register"]


def test_dvc_records_the_keys_that_are_declared(copy_of_project):
    stages = yaml.safe_load((copy_of_project / "dvc.yaml").read_text())["stages"]
    assert {name: tuple(stage.get("params", ())) for name, stage in stages.items()} == recorded.RECORDED
    known = {key for keys in recorded.RECORDED.values() for key in keys}
    for name in schema.flatten(schema.load(copy_of_project / "params.yaml")):  # each key has a reader, or changes no result
        parts = name.split(".")
        read = any(".".join(parts[: length + 1]) in known for length in range(len(parts)))
        assert read != (parts[0] in ("runtime", "promote")), name


def test_a_stage_depends_on_its_own_keys_only(copy_of_project):
    write_params(copy_of_project, {"register.alias": "other"})
    status = json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout)
    assert set(status) == {"register"}
    assert status["register"][0]["changed deps"] == {"params.yaml": {"register": "modified"}}


def test_scores_have_the_published_form(project):
    scores = json.loads((project / "reports" / "metrics.json").read_text())
    assert list(scores) == ["sample"]
    assert list(scores["sample"]) == ["bicubic", "pretrained", "gan", "onnx-fp32"]
    for figures in scores["sample"].values():
        assert list(figures) == FIGURES
        assert figures["lpips"] is None  # not asked for here
    assert scores["sample"]["bicubic"]["psnr_y"] == pytest.approx(28.54, abs=0.01)
    table = pd.read_csv(project / "reports" / "metrics.csv")
    assert list(table.columns) == ["set", "model", "image", *FIGURES]
    assert set(table["image"]) == {"astronaut", "chelsea", "coffee"}
    assert table.groupby("model")["psnr_y"].mean()["gan"] == pytest.approx(scores["sample"]["gan"]["psnr_y"], abs=1e-3)
    # What is shipped is what is scored.
    assert scores["sample"]["onnx-fp32"]["psnr_y"] == pytest.approx(scores["sample"]["gan"]["psnr_y"], abs=0.01)
    statistics = json.loads((project / "reports" / "statistics.json").read_text())["sample"]["gan"]
    against = statistics["against"]["bicubic"]["psnr_y"]
    assert against["difference"] == pytest.approx(scores["sample"]["gan"]["psnr_y"] - scores["sample"]["bicubic"]["psnr_y"], abs=1e-3)
    assert against["low"] <= against["difference"] <= against["high"]
    (cost,) = json.loads((project / "reports" / "speed.json").read_text())["files"]
    assert cost["file"] == "4x-demo-compact-fp32.onnx"
    assert cost["seconds_per_megapixel"] > 0
    assert 50 < cost["peak_memory_mb"] < 4000


@pytest.mark.slow
def test_the_peak_memory_is_the_models_not_ours(project):
    model = project / "models" / "4x-demo-compact-fp32.onnx"
    code = f"""
from pathlib import Path
from srgan.inference import benchmark as speed
ballast = bytearray(b"1") * (1 << 30)
print(speed.measure(Path("{model}"))["peak_memory_mb"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert float(done.stdout) < 700  # this process alone holds 1 GB


@pytest.mark.slow
def test_another_set_to_score_with_trains_nothing_anew(copy_of_project):
    folder = copy_of_project / "007"  # names are text, whatever they look like
    folder.mkdir()
    with Image.open(copy_of_project / "data/prepared/test/sample/hr/coffee.png") as image:
        image.crop((100, 100, 260, 220)).resize((200, 150)).save(folder / "NA.png")
    run("git", "add", "dvc.lock", cwd=copy_of_project)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "before", cwd=copy_of_project)
    write_params(copy_of_project, {"data.test": ["sample", "007", {"set": "007", "recipe": "gaussian-25"}]})
    for stage in ("download", "prepare"):
        run("srgan", stage, cwd=copy_of_project)
    assert not {"pretrain", "train"} & set(json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout))
    for stage in ("evaluate", "report"):
        run("srgan", stage, cwd=copy_of_project)
    assert set(json.loads((copy_of_project / "reports" / "metrics.json").read_text())) == {"sample", "007", "007+gaussian-25"}
    page = (copy_of_project / "reports" / "report.html").read_text()
    assert 'id="007/NA"' in page
    assert 'id="007+gaussian-25/NA"' in page
    changes = json.loads(run("dvc", "metrics", "diff", "--json", "HEAD", cwd=copy_of_project).stdout)
    assert "007.gan.psnr_y" in str(changes)
    assert "sample.gan.psnr_y" not in str(changes)
    run("dvc", "plots", "diff", "HEAD", "-o", "dvc_plots", cwd=copy_of_project)
    html = (copy_of_project / "dvc_plots" / "index.html").read_text()
    assert "PSNR-Y of the GAN on the test images" in html
    assert '"NA"' in html
    write_params(copy_of_project, {"data.test": ["sample"], "prepare.recipe": "gaussian"})
    assert set(json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout)) >= {"download", "prepare"}
    for stage in ("download", "prepare"):
        run("srgan", stage, cwd=copy_of_project)
    assert {"pretrain", "train"} <= set(json.loads(run("dvc", "status", "--json", cwd=copy_of_project).stdout))


@pytest.mark.slow
def test_the_champion_is_scored_beside(copy_of_project):
    store = MlflowClient(f"sqlite:///{copy_of_project}/mlflow/mlflow.db")
    store.set_registered_model_alias("srgan-x4", "champion", "1")
    run("srgan", "evaluate", cwd=copy_of_project)
    scores = json.loads((copy_of_project / "reports" / "metrics.json").read_text())["sample"]
    assert list(scores) == ["bicubic", "pretrained", "gan", "champion", "onnx-fp32"]
    assert scores["champion"] == scores["onnx-fp32"]
    against = json.loads((copy_of_project / "reports" / "statistics.json").read_text())["sample"]["onnx-fp32"]["against"]["champion"]
    assert against["psnr_y"] == {"difference": 0.0, "low": 0.0, "high": 0.0, "wins": 0}
    # A champion whose file is lost costs its row, not the scores.
    (model,) = (copy_of_project / "mlflow" / "artifacts").rglob("*.onnx")
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run("srgan", "evaluate", cwd=copy_of_project)
    assert "4x-demo-compact-fp32.onnx is damaged" in done.stderr
    model.unlink()
    done = run("srgan", "evaluate", cwd=copy_of_project)
    assert "the champion is not scored" in done.stderr
    assert "champion" not in json.loads((copy_of_project / "reports" / "metrics.json").read_text())["sample"]


def test_the_test_images_were_never_trained_on(project):
    manifest = json.loads((project / "data" / "prepared" / "manifest.json").read_text())
    parts = {image["name"]: image["part"] for image in manifest["images"]}
    assert [name for name, part in parts.items() if part == "test"] == ["astronaut", "chelsea", "coffee"]
    assert parts["motorcycle_left"] == parts["motorcycle_right"]
    store = json.loads((project / "data" / "prepared" / "train" / "00000.json").read_text())
    assert {image["name"].split("/")[1] for image in store["images"]} == {name for name, part in parts.items() if part == "train"}


def test_curves_are_tables_with_a_row_per_logged_step(project):
    for stage, extra in (
        ("pretrain", set()),
        ("train", {"loss_relativistic", "loss_feature_matching", "loss_discriminator", "real_accuracy", "fake_accuracy"}),
    ):
        with (project / "reports" / f"{stage}.csv").open() as file:
            rows = list(csv.DictReader(file))
        common = {"step", "learning_rate", "loss_l1", "gradient_generator", "sr_min", "sr_max", "color_shift", "checkerboard"}
        assert common | extra <= set(rows[0])
        assert [int(row["step"]) for row in rows] == [2, 4, 6]
        assert all(value for row in rows for value in row.values())  # an empty cell breaks a plotted line
        scores = pd.read_csv(project / "reports" / f"{stage}_validation.csv")
        assert list(scores.columns) == ["step", "val_psnr_y", "val_ssim_y", "val_hatch", "val_loss", "gap"]
        assert list(scores["step"]) == [0, 3, 6]


def test_dvc_shows_metrics_plots_and_graph(copy_of_project):
    project = copy_of_project
    shown = json.loads(run("dvc", "metrics", "show", "--json", cwd=project).stdout)
    assert "bicubic" in str(shown)
    page = run("dvc", "plots", "show", "-o", "dvc_plots", cwd=project).stdout
    html = (project / "dvc_plots" / "index.html").read_text()
    assert "index.html" in page
    for curve in (
        "PSNR-Y on the validation images",
        "losses/train/relativistic.csv",
        "comparison.png",
        "PSNR-Y of the GAN on the test images",
    ):
        assert curve in html
    assert all(stage in run("dvc", "dag", cwd=project).stdout for stage in STAGES)


def commit(folder, name):
    run("git", "add", "-A", cwd=folder)
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", name, cwd=folder)


@pytest.mark.slow
def test_earlier_parameters_bring_their_own_model_page_and_challenger_back(copy_of_project):
    """DVC has it all in its cache, but MLflow's alias is outside, and the page is no out. With links, times of files tell nothing."""
    folder = copy_of_project
    store = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    run("dvc", "config", "cache.type", "hardlink", cwd=folder)
    commit(folder, "first")
    page = (folder / "reports" / "report.html").read_text()
    first = json.loads((folder / "reports" / "speed.json").read_text())["training"]
    write_params(folder, {"train.steps": 4, "export.name": "sharp"})
    run("dvc", "repro", cwd=folder)
    assert str(store.get_model_version_by_alias("srgan-x4", "challenger").version) == "2"
    assert first not in (folder / "reports" / "report.html").read_text()
    assert first in page
    commit(folder, "second")
    run("git", "checkout", "-q", "HEAD~1", cwd=folder)
    run("dvc", "checkout", "-q", cwd=folder)
    assert len(list((folder / "models").glob("*-fp32.onnx"))) == 1
    shutil.copy(next((folder / "models").glob("*-fp32.onnx")), folder / "models" / "4x-newer-compact-fp32.onnx")
    photograph = next((folder / "data/prepared/test/sample/lr").glob("*.png"))
    assert "x4 by 4x-demo-compact-fp32.onnx" in run("srgan", "upscale", photograph, "-o", "dvc_plots/big.png", cwd=folder).stderr
    assert ran(run("dvc", "repro", cwd=folder).stdout) == ["register"]
    assert str(store.get_model_version_by_alias("srgan-x4", "challenger").version) == "1"
    assert first in (folder / "reports" / "report.html").read_text()


@pytest.mark.slow
def test_a_stage_by_hand_writes_through_no_link_into_dvcs_cache(copy_of_project):
    folder = copy_of_project
    run("dvc", "config", "cache.type", "hardlink", cwd=folder)
    run("dvc", "checkout", "--relink", "-q", cwd=folder)
    cache = {path: path.read_bytes() for path in (folder / ".dvc" / "cache" / "files").rglob("*") if path.is_file()}
    assert any(path.stat().st_nlink > 1 for path in cache)
    write_params(folder, {"train.seed": 7})
    for stage in ("train", "export", "evaluate"):
        run("srgan", stage, cwd=folder)
    assert {path: path.read_bytes() for path in cache} == cache


def test_a_damaged_export_is_not_used(copy_of_project):
    model = next((copy_of_project / "models").glob("*-fp32.onnx"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.unlink()
    model.write_bytes(content)
    photograph = next((copy_of_project / "data/prepared/test/sample/lr").glob("*.png"))
    for command in (("upscale", photograph, "-o", "dvc_plots/big.png"), ("register",)):
        done = run("srgan", *command, cwd=copy_of_project, check=False)
        assert done.returncode == 1
        assert f"models/{model.name}: damaged or replaced: not the file that reports/export.json records" in done.stderr


@pytest.mark.slow
def test_all_outs_can_be_pushed_and_pulled(copy_of_project, tmp_path):
    run("dvc", "remote", "add", "-q", "-d", "store", tmp_path / "store", cwd=copy_of_project)
    run("dvc", "push", "-q", cwd=copy_of_project)
    for page in ("report.html", "speed.json"):  # no outs: made where they are looked at
        (copy_of_project / "reports" / page).unlink()
    before = {
        path: path.read_bytes()
        for path in copy_of_project.rglob("*")
        if path.is_file() and path.parts[len(copy_of_project.parts)] in ("models", "reports")
    }
    for folder in ("data", "models", "reports", ".dvc/cache"):
        shutil.rmtree(copy_of_project / folder)
    run("dvc", "pull", "-q", cwd=copy_of_project)
    assert before
    assert all(path.read_bytes() == content for path, content in before.items())
    assert ran(run("dvc", "repro", cwd=copy_of_project).stdout) == ["register"]
    assert (copy_of_project / "reports" / "report.html").is_file()


def test_the_comparison_shows_bicubic_ours_and_the_original(project):
    with Image.open(project / "reports" / "comparison.png") as picture:
        assert picture.width == 4 * (96 * 3 + 6) - 6
        assert picture.height == 3 * (96 * 3 + 2 * 22)


@pytest.mark.slow
def test_equal_inputs_give_equal_outs(project, tmp_path):
    """Every out is a function of its dependencies: so two runs on one machine write the same lock file."""
    again = make_project(tmp_path / "again")
    for stage in STAGES:
        run("srgan", stage, cwd=again)
    for name in ("data", "models", "reports"):
        files = [path.relative_to(project) for path in (project / name).rglob("*") if path.is_file()]
        assert files
        for file in files:
            if file.name in ("report.html", "speed.json"):  # what it costs on this machine, now
                continue
            assert (again / file).read_bytes() == (project / file).read_bytes(), file
