import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from mlflow.tracking import MlflowClient

from tests.helpers.commands import environment, run, wait_for
from tests.helpers.project import write_params


def client(folder):
    return MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")


def only_run(folder):
    mlflow = client(folder)
    experiment = mlflow.get_experiment_by_name("srgan")
    (found,) = mlflow.search_runs([experiment.experiment_id])
    return mlflow, found


def test_the_run_holds_parameters_curves_scores_pictures_and_data(project):
    mlflow, found = only_run(project)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.losses.relativistic.weight"] == "0.15"
    assert found.data.params["model.name"] == "compact"
    assert [point.step for point in mlflow.get_metric_history(found.info.run_id, "pretrain/loss_l1")] == [2, 4, 6]
    assert [point.step for point in mlflow.get_metric_history(found.info.run_id, "val/psnr_y")] == [0, 3, 6]
    assert [point.step for point in mlflow.get_metric_history(found.info.run_id, "pretrain/val/psnr_y")] == [0, 3, 6]
    scores = json.loads((project / "reports" / "metrics.json").read_text())["sample"]
    assert found.data.metrics["sample/psnr_y"] == scores["gan"]["psnr_y"]
    assert found.data.metrics["sample/bicubic/psnr_y"] == scores["bicubic"]["psnr_y"]
    files = {file.path for file in mlflow.list_artifacts(found.info.run_id)}
    assert {"metrics.json", "metrics.csv", "statistics.json", "comparison.png", "pictures", "report.html", "export.json"} <= files
    assert found.data.metrics["cost/onnx-fp32/seconds_per_megapixel"] > 0
    views = {file.path for file in mlflow.list_artifacts(found.info.run_id, "pictures/sample/coffee")}
    assert {f"pictures/sample/coffee/{view}.png" for view in ("bicubic", "gan", "original")} <= views
    # By step: what each validation looked like.
    shown = sorted(file.path for file in mlflow.list_artifacts(found.info.run_id, "images") if file.path.endswith(".png"))
    assert [name.split("+")[:3] for name in shown] == [
        [f"images/{stage}~validation", "step", str(step)] for stage in ("pretrain", "train") for step in (0, 3, 6)
    ]
    (data,) = found.inputs.dataset_inputs
    manifest = json.loads((project / "data/prepared/manifest.json").read_text())
    assert (data.dataset.name, data.dataset.digest) == ("sample", manifest["train_sha256"][:32])
    assert found.data.tags["srgan.data_sha256"] == manifest["train_sha256"]
    assert found.data.tags["profile"].startswith("demo + ")
    assert {"mlflow.source.git.commit", "dvc.lock", "host", "gpu"} <= set(found.data.tags)
    shown = {tag for tag in found.data.tags if not tag.startswith("mlflow.")}  # by MLflow's pages, as tags
    assert shown == {"srgan.key", "srgan.data_sha256", "profile", "dvc.lock", "host", "gpu"}
    assert re.fullmatch(
        r"gan against bicubic on sample: PSNR-Y [+-]\d\.\d\d dB.*, better on \d of 3\.", found.data.tags["mlflow.note.content"]
    )


def test_the_model_is_registered_as_challenger_and_loads(project, monkeypatch):
    import mlflow as fluent
    import numpy as np
    import onnxruntime

    mlflow = client(project)
    version = mlflow.get_model_version_by_alias("srgan-x4", "challenger")
    assert version.version == "1" or version.version == 1
    _, found = only_run(project)
    assert version.run_id == found.info.run_id
    fluent.set_tracking_uri(None)  # in place of what another test has left; it would keep to that
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow/mlflow.db")
    model = fluent.onnx.load_model("models:/srgan-x4@challenger")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": np.zeros((1, 3, 4, 5), np.float32)})
    assert output.shape == (1, 3, 16, 20)
    info = fluent.models.get_model_info("models:/srgan-x4@challenger")
    assert [column.name for column in info.signature.inputs.inputs] == ["image"]  # as a service, it takes image files


def test_twice_is_once(copy_of_project):
    mlflow, before = only_run(copy_of_project)
    for command in ("sync", "register"):
        run("srgan", command, cwd=copy_of_project)
    mlflow, after = only_run(copy_of_project)
    assert after.info.run_id == before.info.run_id
    assert len(mlflow.get_metric_history(after.info.run_id, "train/loss_l1")) == 3
    assert len(mlflow.get_metric_history(after.info.run_id, "sample/psnr_y")) == 1
    assert len([file for file in mlflow.list_artifacts(after.info.run_id, "images") if file.path.endswith(".png")]) == 6
    assert len(mlflow.search_model_versions("name = 'srgan-x4'")) == 1


def test_another_curve_under_the_same_parameters_is_another_run(copy_of_project):
    """As after a change of the code: the old run keeps what it was, and a new one tells what is."""
    path = copy_of_project / "reports" / "train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(lines[-1].split(",")[2], "0.5")]) + "\n")
    run("srgan", "sync", cwd=copy_of_project)
    mlflow = client(copy_of_project)
    runs = mlflow.search_runs([mlflow.get_experiment_by_name("srgan").experiment_id])
    ends = {found.data.metrics["train/loss_l1"] for found in runs}
    assert len(runs) == 2
    assert 0.5 in ends
    assert {found.info.status for found in runs} == {"FINISHED"}
    path.write_text("\n".join(lines) + "\n")  # as DVC brings an earlier result from its cache
    run("srgan", "sync", cwd=copy_of_project)
    assert len(mlflow.search_runs([mlflow.get_experiment_by_name("srgan").experiment_id])) == 2


def test_results_are_not_filed_under_parameters_that_did_not_make_them(copy_of_project):
    write_params(copy_of_project, {"train.steps": 8})
    for command in ("sync", "register", "evaluate"):
        refused = run("srgan", command, cwd=copy_of_project, check=False)
        assert refused.returncode == 1
        assert "trained with other parameters or data than params.yaml now names. Run: dvc repro" in refused.stderr


def test_a_broken_store_costs_a_warning_not_the_training(copy_of_project):
    (copy_of_project / "mlflow" / "mlflow.db").write_bytes(b"no database at all" * 100)
    done = run("srgan", "pretrain", cwd=copy_of_project)
    assert "send them later with: srgan sync" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_files_make_the_run_again_on_a_new_server(copy_of_project, tmp_path):
    uri = f"sqlite:///{tmp_path}/other.db"
    run("srgan", "sync", cwd=copy_of_project, MLFLOW_TRACKING_URI=uri)
    mlflow = MlflowClient(uri)
    (found,) = mlflow.search_runs([mlflow.get_experiment_by_name("srgan").experiment_id])
    assert len(mlflow.get_metric_history(found.info.run_id, "pretrain/loss_l1")) == 3
    assert mlflow.get_model_version_by_alias("srgan-x4", "challenger").run_id == found.info.run_id


@pytest.mark.slow
def test_a_dead_server_costs_a_warning_not_the_training(copy_of_project):
    write_params(copy_of_project, {"train.losses.l1.weight": 0.5})
    start = time.monotonic()
    done = run("srgan", "train", cwd=copy_of_project, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    assert time.monotonic() - start < 60
    assert (copy_of_project / "models/generator.safetensors").is_file()
    assert "send them later with: srgan sync" in done.stderr
    assert "secret" not in done.stderr
    refused = run("srgan", "register", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert refused.returncode == 69  # may go better later
    assert "The model is safe, run again: dvc repro register" in refused.stderr
    assert "Traceback" not in refused.stderr


class Server:
    """A real tracking server on loopback."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        store, files = f"sqlite:///{self.folder}/server.db", str(self.folder / "store")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", store, "--artifacts-destination", files]  # fmt: skip
        with self.log.open("a") as log:
            env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_gets_the_same_as_the_local_store(copy_of_project, server):
    run("srgan", "register", cwd=copy_of_project, MLFLOW_TRACKING_URI=server.uri)
    mlflow = MlflowClient(server.uri)
    version = mlflow.get_model_version_by_alias("srgan-x4", "challenger")
    files = {file.path for file in mlflow.list_artifacts(version.run_id)}
    assert {"comparison.png", "report.html"} <= files
    assert len(mlflow.get_metric_history(version.run_id, "train/loss_l1")) == 3


OFTEN = """
from srgan.commands.main import main
from srgan.tracking import mlflow_run
mlflow_run.SAMPLE_SECONDS, mlflow_run.SYNC_SAMPLES = 0.5, 1
main(['train'])
"""


@pytest.mark.slow
def test_a_server_killed_in_the_middle_has_everything_once_it_is_back(copy_of_project, server):
    runtime = {"log_every": 1, "validate_every": 300, "checkpoint_every": 900}
    write_params(copy_of_project, {"train.steps": 900, **{f"runtime.train.{key}": value for key, value in runtime.items()}})
    mlflow = MlflowClient(server.uri)

    def points(name):
        experiment = mlflow.get_experiment_by_name("srgan")
        runs = mlflow.search_runs([experiment.experiment_id]) if experiment else []
        return [point.step for point in mlflow.get_metric_history(runs[0].info.run_id, name)] if runs else []

    def rows():
        path = copy_of_project / "reports" / "train.csv"
        return path.read_text().count("\n") if path.is_file() else 0

    command, env = [sys.executable, "-c", OFTEN], environment(MLFLOW_TRACKING_URI=server.uri)
    training = subprocess.Popen(command, cwd=copy_of_project, env=env, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: 0 < len(points("train/loss_l1")) < 900 or training.poll() is not None)
    assert training.poll() is None, training.stderr.read()
    server.kill()
    before = rows()
    wait_for(lambda: rows() > before + 50)  # it trains on
    server.start()
    _, told = training.communicate(timeout=120)
    assert training.returncode == 0, told
    run("srgan", "sync", cwd=copy_of_project, check=False, MLFLOW_TRACKING_URI=server.uri)  # in case the end fell into the outage
    assert points("train/loss_l1") == list(range(1, 901))
    assert points("val/psnr_y") == [0, 300, 600, 900]
    assert len(points("system/cpu_utilization_percentage")) >= 2
