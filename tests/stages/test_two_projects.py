"""Two projects in one process: each keeps its files, its checkpoints and its MLflow runs to itself."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from srgan.config import schema
from srgan.config.project import Project
from srgan.stages import STAGES, sync
from srgan.tracking import registry
from srgan.utils.files import read_json, sha256
from tests.helpers.project import write_params

SMALL = {
    "data.train": ["photos"],
    "data.test": [],
    "prepare.test": 0.3,
    "model.features": 4,
    "pretrain.steps": 2,
    "train.steps": 2,
    "runtime.pretrain.validate_every": 2,
    "runtime.train.validate_every": 2,
}


def small_project(root, seed):
    """A project of six random images, with a folder of its own as data set."""
    (root / "photos").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (64, 72, 3), dtype=np.uint8)).save(root / "photos" / f"{number}.png")
    write_params(root, SMALL | {"pretrain.seed": seed, "register.name": f"model{seed}"})
    project = Project(root)
    return project, schema.load(project.params)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory that is neither project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.mark.slow
def test_stages_of_two_projects_run_in_turn_and_at_once(tmp_path, elsewhere):
    both = [small_project(tmp_path / "one", 1), small_project(tmp_path / "two", 2)]
    with ThreadPoolExecutor(2) as pool:
        for stage in STAGES:
            if stage in ("pretrain", "train", "export"):  # in turn: the random state and the exporter of PyTorch are global
                for project, params in both:
                    STAGES[stage](project, params)
            else:
                for done in [pool.submit(STAGES[stage], project, params) for project, params in both]:
                    done.result()
        for done in [pool.submit(sync.run, project, params) for project, params in both]:
            done.result()
    assert list(elsewhere.iterdir()) == []
    keys = set()
    for seed, (project, _) in enumerate(both, 1):
        record = read_json(project.registration, made_by="register")
        assert (record["model"], record["sha256"]) == (f"model{seed}-x4", sha256(project.exported_model()))
        client = MlflowClient(f"sqlite:///{project.root}/mlflow/mlflow.db")
        (run,) = client.search_runs([client.get_experiment_by_name("srgan").experiment_id])
        assert run.data.tags["srgan.key"] == record["key"]
        assert run.data.params["pretrain.seed"] == str(seed)
        assert run.info.artifact_uri.startswith(project.root.as_uri())
        assert [point.step for point in client.get_metric_history(run.info.run_id, "train/val/psnr_y")] or run.info.status == "FINISHED"
        (model,) = client.search_registered_models()
        assert model.name == record["model"]
        downloaded = registry.download(project, f"models:/{model.name}@challenger", tmp_path / f"downloaded{seed}")
        assert sha256(downloaded) == record["sha256"]
        assert [path.name for path in sorted(project.checkpoints.rglob("final.pt"))] == ["final.pt", "final.pt"]
        assert sorted(path.name for path in project.losses["train"].parent.glob("*.csv")) == [
            "gan.csv", "metrics.csv", "pretrain.csv", "pretrain_validation.csv", "train.csv", "train_validation.csv",
        ]  # fmt: skip
        keys.add((record["key"], record["sha256"]))
    assert len(keys) == 2


def test_a_relative_root_starts_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Project().generator.as_posix() == "models/generator.safetensors"
    assert Project("photos").raw.as_posix() == "photos/data/raw"
    inside = tmp_path / "own" / ".dvc" / "tmp" / "exps" / "copy"
    inside.mkdir(parents=True)
    assert Project(inside).working_copy.root == (tmp_path / "own").resolve()
    assert Project(tmp_path).working_copy == Project(tmp_path)
