"""MLflow's store: where it is, whose runs are whose, and what is said when MLflow refuses."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import OperationalError

from srgan.config.project import Project
from srgan.tracking import store as mlflow_store
from srgan.utils.errors import SrganError, Unreachable
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params


def client(folder):
    return MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")


def runs_of(store, experiment="srgan"):
    return store.search_runs([store.get_experiment_by_name(experiment).experiment_id])


# -- where it is -----------------------------------------------------------------------------------------------------------


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_artifacts_that_are_in_no_folder_stay_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = "s3://bucket/mlflow/artifacts"
    created = mlflow_store.connect(Project()).create_experiment("remote", artifact_location=place)
    assert mlflow_store.connect(Project()).get_experiment(created).artifact_location == place


@pytest.mark.slow
def test_a_renamed_or_copied_project_takes_its_store_along(copy_of_project, tmp_path):
    renamed, copy = tmp_path / "renamed ü", tmp_path / "copy of it"
    copy_of_project.rename(renamed)
    shutil.copytree(renamed, copy, symlinks=True)
    before = files_below(renamed)
    write_params(copy, {"export.license": "another"})
    for stage in ("export", "evaluate", "register"):
        run("srgan", stage, cwd=copy)
    assert files_below(renamed) == before
    store = client(copy)
    photograph = next((copy / "data/prepared/test/sample/lr").glob("*.png"))
    for folder, numbers in ((renamed, "1"), (copy, "12")):
        for number in numbers:
            run("srgan", "upscale", photograph, "-o", tmp_path / "big.png", "--model", f"models:/srgan-x4/{number}", cwd=folder)
    assert not copy_of_project.exists()
    assert len({found.info.run_id for found in runs_of(store)}) == 1  # the renamed store's run is this folder's own


def test_a_copied_project_in_the_same_process_writes_into_its_own_store(copy_of_project, tmp_path):
    copy = Path(shutil.copytree(copy_of_project, tmp_path / "second", symlinks=True))
    (run_id,) = {found.info.run_id for found in runs_of(client(copy))}
    for folder in (copy_of_project, copy):
        mlflow_store.connect(Project(folder)).log_text(run_id, folder.name, "which.txt")
    assert [path.read_text() for path in sorted(copy_of_project.rglob("which.txt"))] == [copy_of_project.name]
    assert [path.read_text() for path in sorted(copy.rglob("which.txt"))] == ["second"]


def test_a_database_in_the_projects_root_puts_nothing_there_that_git_sees(copy_of_project):
    run("srgan", "register", cwd=copy_of_project, MLFLOW_TRACKING_URI="sqlite:///rel.db")
    assert (copy_of_project / "rel.db").is_file()
    assert not (copy_of_project / "artifacts").exists()
    assert run("git", "status", "--porcelain", cwd=copy_of_project).stdout == "?? dvc.lock\n"
    photograph = next((copy_of_project / "data/prepared/test/sample/lr").glob("*.png"))
    command = ("srgan", "upscale", photograph, "-o", "big.png", "--model", "models:/srgan-x4@challenger")
    run(*command, cwd=copy_of_project, MLFLOW_TRACKING_URI="sqlite:///rel.db")


@pytest.mark.slow
def test_an_experiment_in_a_temporary_folder_is_registered_in_the_projects_own_store(copy_of_project):
    """As docs/experiments.md promises of `--temp`; `--queue` runs in such folders, too."""
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run("git", "add", "dvc.lock", cwd=copy_of_project)
    run(*git, "commit", "-qm", "before", cwd=copy_of_project)
    run("dvc", "exp", "run", "--temp", "-n", "softer", "-S", "train.losses.2.weight=0.005", cwd=copy_of_project)
    store = client(copy_of_project)
    assert len(runs_of(store)) == 2
    version = store.get_model_version_by_alias("srgan-x4", "challenger")
    assert str(version.version) == "2"
    tried = store.get_run(version.run_id)
    assert tried.data.params["train.losses.relativistic.weight"] == "0.005"
    assert "report.html" in {file.path for file in store.list_artifacts(version.run_id)}
    photograph = next((copy_of_project / "data/prepared/test/sample/lr").glob("*.png"))
    run("srgan", "upscale", photograph, "-o", "dvc_plots/big.png", "--model", "models:/srgan-x4/2", cwd=copy_of_project)
    assert not list((copy_of_project / "checkpoints" / "experiments").iterdir())  # they were there while it trained
    # Taken over, it is the working copy's training, with the same run.
    run("dvc", "exp", "apply", "softer", cwd=copy_of_project)
    run("dvc", "repro", cwd=copy_of_project)
    assert len(runs_of(store)) == 2
    assert len(store.search_model_versions("name = 'srgan-x4'")) == 2


CREATE = """
from srgan.config.project import Project
from srgan.tracking import store
print(len(store.connect(Project()).search_experiments()))
"""


@pytest.mark.slow
def test_two_that_create_the_store_at_once_do_not_break_it(copy_of_project, tmp_path):
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/new.db")
    command = [sys.executable, "-c", CREATE]
    processes = [
        subprocess.Popen(command, cwd=copy_of_project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        out, told = process.communicate(timeout=200)
        assert (process.returncode, out) == (0, "1\n"), told


@pytest.mark.slow
def test_two_that_register_one_model_at_once_make_one_version(copy_of_project, tmp_path):
    copies = [copy_of_project, tmp_path / "second"]
    shutil.copytree(copy_of_project, copies[1], symlinks=True)
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/shared.db")
    processes = [
        subprocess.Popen([sys.executable, "-m", "srgan", "register"], cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
        for folder in copies
    ]
    for process in processes:
        told = process.communicate(timeout=200)[1]
        assert process.returncode == 0, told
    assert len(MlflowClient(f"sqlite:///{tmp_path}/shared.db").search_model_versions("name = 'srgan-x4'")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_a_process_killed_while_it_creates_the_store_does_not_break_it(tmp_path, share):
    (tmp_path / "new").mkdir()

    def created():
        child = os.fork()  # has imported everything
        if not child:
            code = 1
            try:
                os.chdir(tmp_path / "new")
                os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///new.db"
                mlflow_store.connect(Project())
                code = 0
            finally:
                os._exit(code)
        return child

    begun = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(created(), 0)[1]) == 0
    seconds = time.monotonic() - begun
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new").mkdir()
    child = created()
    time.sleep(share * seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(created(), 0)[1]) == 0


# -- whose runs are whose --------------------------------------------------------------------------------------------------


def change_a_loss(folder):
    path = folder / "reports" / "train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace(lines[-1].split(",")[2], "0.5")]) + "\n")


@pytest.mark.slow
def test_two_trainings_with_equal_parameters_are_two_runs_that_leave_each_other_alone(copy_of_project, tmp_path):
    other = shutil.copytree(copy_of_project, tmp_path / "other", symlinks=True)
    change_a_loss(other)  # on GPUs, the last digits always differ
    uri = f"sqlite:///{tmp_path}/team.db"
    store = MlflowClient(uri)
    for folder in (copy_of_project, other):
        run("srgan", "sync", cwd=folder, MLFLOW_TRACKING_URI=uri)
    first, second = sorted(runs_of(store), key=lambda found: found.info.start_time)
    store.update_run(first.info.run_id, "RUNNING")  # as while it trains
    run("srgan", "sync", cwd=other, MLFLOW_TRACKING_URI=uri)
    assert store.get_run(first.info.run_id).info.status == "RUNNING"
    for folder in (copy_of_project, other):
        run("srgan", "sync", cwd=folder, MLFLOW_TRACKING_URI=uri)
    assert {found.info.run_id for found in runs_of(store)} == {first.info.run_id, second.info.run_id}
    assert first.data.tags["srgan.key"] == second.data.tags["srgan.key"]
    for found in runs_of(store):
        assert found.info.status == "FINISHED"
        assert len(store.get_metric_history(found.info.run_id, "train/loss_l1")) == 3


@pytest.mark.slow
def test_a_run_of_before_there_were_writers_is_found_by_its_own_working_copy(copy_of_project, tmp_path):
    uri = f"sqlite:///{tmp_path}/team.db"
    store = MlflowClient(uri)
    run("srgan", "sync", cwd=copy_of_project, MLFLOW_TRACKING_URI=uri)
    (found,) = runs_of(store)
    store.delete_tag(found.info.run_id, "mlflow.srgan.writer")
    other = shutil.copytree(copy_of_project, tmp_path / "other", symlinks=True)
    change_a_loss(other)
    for folder in (other, copy_of_project, copy_of_project):
        run("srgan", "sync", cwd=folder, MLFLOW_TRACKING_URI=uri)
    assert len(runs_of(store)) == 2
    assert store.get_run(found.info.run_id).data.tags["mlflow.srgan.writer"]


# -- refusals --------------------------------------------------------------------------------------------------------------


def test_a_deleted_experiment_is_restored(copy_of_project):
    store = client(copy_of_project)
    (before,) = runs_of(store)
    store.delete_experiment(before.info.experiment_id)
    done = run("srgan", "register", cwd=copy_of_project)
    assert "MLflow: the experiment 'srgan' was deleted. It is restored, with its runs" in done.stderr
    (after,) = runs_of(store)
    assert after.info.run_id == before.info.run_id


def test_the_experiments_name_can_be_set(copy_of_project):
    run("srgan", "sync", cwd=copy_of_project, MLFLOW_EXPERIMENT_NAME="berta")
    assert len(runs_of(client(copy_of_project), "berta")) == 1


def refused(folder, *command, **env):
    done = run("srgan", *command, cwd=folder, check=False, **env)
    assert "Traceback" not in done.stderr
    (line,) = re.findall(r"^srgan \w+: error: (.*)$", done.stderr, re.MULTILINE)
    return done.returncode, line


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MLFLOW_EXPERIMENT_NAME", "x" * 600, "Correct register.name, register.alias or MLFLOW_EXPERIMENT_NAME"),
        ("MLFLOW_TRACKING_URI", "./mlruns", "MLflow refuses: The filesystem tracking backend"),
    ],
)
def test_a_wrong_name_is_no_outage(copy_of_project, name, value, told):
    code, line = refused(copy_of_project, "register", **{name: value})
    assert code == 1, line
    assert told in line
    assert "The model is safe, run again: dvc repro register" in line


def test_a_store_that_mlflow_cannot_use_is_no_outage(copy_of_project):
    database = copy_of_project / "mlflow" / "mlflow.db"
    whole = database.read_bytes()
    with sqlite3.connect(database) as store:
        store.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    store.close()
    code, line = refused(copy_of_project, "sync")
    assert code == 1
    assert f"Back it up, then run: mlflow db upgrade sqlite:///{database}" in line
    database.write_bytes(b"no database at all" * 100)
    code, line = refused(copy_of_project, "sync")
    assert code == 1
    assert f"MLflow: sqlite:///{database} is damaged. Move it away, then make a new one: srgan sync" in line
    database.write_bytes(whole)
    run("srgan", "sync", cwd=copy_of_project)


def test_an_outage_may_be_over_the_next_time(copy_of_project):
    code, line = refused(copy_of_project, "sync", MLFLOW_TRACKING_URI="http://anna:secret@127.0.0.1:9")
    assert code == 69
    assert "Connection refused" in line
    assert "secret" not in line
    assert "The files are safe, run again: srgan sync" in line


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE), Unreachable),
        (MlflowException("(sqlite3.OperationalError) attempt to write a readonly database", TEMPORARILY_UNAVAILABLE), SrganError),
        (OperationalError("connect", {}, Exception("could not connect to server")), Unreachable),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "the database is away"}), Unreachable),
        (MlflowException("API request to endpoint /x failed with error code 502 != 200. Response body: ''"), Unreachable),
        (MlflowException("API request to endpoint /x failed with error code 404 != 200.", ENDPOINT_NOT_FOUND), SrganError),
        (MlflowException("something that only this client knows"), SrganError),
        (PermissionError(13, "Permission denied", "artifacts/x"), SrganError),
        (ConnectionResetError("reset by peer"), Unreachable),
    ],
)
def test_only_an_outage_is_worth_another_try(error, kind):
    assert type(mlflow_store.explained(Project(), error)) is kind
