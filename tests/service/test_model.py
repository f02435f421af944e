"""The model is replaced while the service runs."""

import shutil

from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.inference.upscaler import Upscaler
from srgan.service.model import Identity, ServedModel
from srgan.tracking.registry import AliasTracker
from tests.helpers.commands import wait_for
from tests.helpers.project import write_model
from tests.helpers.service import encoded, running


def replace(path, new):
    beside = shutil.copy(new, path.with_suffix(".new"))
    beside.replace(path)


def test_a_file_that_is_replaced_is_used_and_a_damaged_one_is_not(tmp_path):
    path = tmp_path / "served.onnx"
    other = write_model(tmp_path, scale=3)
    replace(path, write_model(tmp_path, scale=2))

    def scale():
        return client.get("/version").json()["model"]["scale"]

    with running(path, reload_seconds=0.1) as client:
        before = client.post("/upscale", content=encoded()).content
        replace(path, other)
        wait_for(lambda: scale() == 3)
        assert client.post("/upscale", content=encoded()).content != before
        path.write_bytes(b"damaged")
        assert client.post("/upscale", content=encoded()).status_code == 200
        replace(path, write_model(tmp_path, scale=2))
        wait_for(lambda: scale() == 2)
        assert client.post("/upscale", content=encoded()).content == before
        text = client.get("/metrics").text
    assert "srgan_model_reloads_total 2.0" in text
    assert text.count("srgan_model{") == 1


def test_a_request_keeps_the_model_that_it_began_with(tmp_path):
    path = tmp_path / "served.onnx"
    replace(path, write_model(tmp_path, scale=2))
    served = ServedModel(Upscaler(path), lambda path: Identity(path.name))
    former = served.current
    replace(path, write_model(tmp_path, scale=3))
    assert served.refresh()
    assert (former.upscaler.scale, served.current.upscaler.scale) == (2, 3)
    assert not served.refresh()


def test_the_alias_of_a_registry_is_followed(copy_of_project, monkeypatch):
    """With the version that the stage `register` made, and a second one of the same file."""
    monkeypatch.chdir(copy_of_project)
    store = MlflowClient(f"sqlite:///{copy_of_project}/mlflow/mlflow.db")
    first = store.get_model_version_by_alias("srgan-x4", "challenger")
    second = store.create_model_version("srgan-x4", first.source, first.run_id, first.tags)
    store.set_registered_model_alias("srgan-x4", "champion", first.version)
    tracker = AliasTracker(Project(), "models:/srgan-x4@champion", period=0)
    served = ServedModel(Upscaler(tracker), lambda path: Identity(tracker.name, tracker.alias, tracker.version_of(path)))
    assert str(served.current.identity) == "srgan-x4@champion version 1"
    store.set_registered_model_alias("srgan-x4", "champion", second.version)
    assert served.refresh()
    assert served.current.described()["version"] == "2"
    store.delete_registered_model_alias("srgan-x4", "champion")
    assert not served.refresh()
    assert served.current.upscaler.scale == 4
