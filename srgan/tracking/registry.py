"""The model registry: versions found by what they hold, named by aliases."""

import contextlib
import importlib.metadata
import logging
import math
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pandas as pd
from mlflow import pyfunc
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

from srgan.evaluation import evaluate
from srgan.tracking import mlflow_run, store
from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, sha256

DIGEST_TAG = "srgan.onnx_sha256"
TEST_TAG = "srgan.test_sha256"  # the images that the version's scores are of
SCORES_TAG = "srgan.scores_run"  # the run whose artifacts they are among
DIFFERENCE_TAG = "srgan.onnx_difference"  # from PyTorch, at most
MODEL_ID = re.compile(r"models:/(m-[0-9a-f]+)")
IMAGES = "-images"  # end of the name of a second model that former releases kept
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # what a server that works says of a name it does not know
SERVICE = ("filelock", "mlflow", "numpy", "onnx", "opencv-python-headless", "pandas", "pillow", "psutil", "pyvips[binary]", "tifffile")

log = logging.getLogger(__name__)


def register(
    path: Path, training: mlflow_run.Training, name: str, alias: str, tags: dict[str, str], table: pd.DataFrame, card: str
) -> dict[str, Any]:
    """Put an `.onnx` file into the registry as a new version of `name`, and point `alias` to it.

    The same file twice makes no second version.

    Args:
        path: the file.
        training: whose it is.
        name: of the registered model.
        alias: for the version.
        tags: of the version.
        table: the file's scores, per image.
        card: the model card, which becomes the version's description.

    Returns:
        `name`, `version`, `alias`, `run_id`.

    Raises:
        SrganError: MLflow refuses or (`Unreachable`) cannot be reached; nothing is lost, the stage can be run again.
    """
    try:
        client = store.connect()
        run_id = mlflow_run.sync(training)
        with store.one_registration():
            found = _find(client, name, sha256(path)) or _create(client, path, run_id, name)
        place = Path(_scores_path(sha256(path)))
        with tempfile.TemporaryDirectory() as folder:
            table.to_csv(Path(folder) / place.name, index=False)
            client.log_artifact(run_id, str(Path(folder) / place.name), str(place.parent))
        client.log_text(run_id, card, "MODEL_CARD.md")
        client.update_model_version(name, found.version, card)
        for key, value in (tags | {SCORES_TAG: run_id}).items():  # after the scores that they speak of
            client.set_model_version_tag(name, found.version, key, value)
        give_alias(client, name, alias, found.version)
        client.set_terminated(run_id, "FINISHED")
    except Exception as error:  # see tracking.try_sync
        why = store.explained(error, name)
        raise type(why)(f"{path} is not registered: {why}; the model is safe, run again: dvc repro register") from error
    return {"name": name, "version": int(found.version), "alias": alias, "run_id": run_id}


def find(name: str, alias: str, folder: Path) -> Path | None:
    """Bring the version of `name` that bears `alias` into `folder`; None if there is none.

    Raises:
        SrganError: the file is lost or damaged, MLflow refuses, or (`Unreachable`) cannot be reached.
    """
    return download(f"models:/{name}@{alias}", folder) if version(name, alias) else None


def version(name: str, alias: str) -> ModelVersion | None:
    """The version of `name` that bears `alias`; None if there is none.

    Raises:
        SrganError: MLflow refuses or (`Unreachable`) cannot be reached.
    """
    try:
        return store.connect().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise store.explained(error, name) from error
    except Exception as error:  # see tracking.try_sync
        raise store.explained(error, name) from error


def scores(found: ModelVersion, test_sha256: str) -> pd.DataFrame | None:
    """The scores per image that were registered with a version; None if there are none, or they are of other images."""
    if found.tags.get(TEST_TAG) != test_sha256 or not found.run_id:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_id = found.tags.get(SCORES_TAG, found.run_id)
            path = store.connect().download_artifacts(run_id, _scores_path(found.tags[DIGEST_TAG]), folder)
            return evaluate.read_table(path)
    except Exception as error:  # see tracking.try_sync
        log.warning("the scores of version %s are missing (%s)", found.version, store.explained(error))
        return None


def tag(name: str, number: str, tags: dict[str, str]) -> None:
    """Set tags of a version.

    Raises:
        SrganError: MLflow refuses or (`Unreachable`) cannot be reached.
    """
    try:
        client = store.connect()
        for key, value in tags.items():
            client.set_model_version_tag(name, str(number), key, value)
    except Exception as error:  # see tracking.try_sync
        raise store.explained(error, name) from error


def give_alias(client: MlflowClient, name: str, alias: str, number: str) -> None:
    """Let an alias name a version."""
    client.set_registered_model_alias(name, alias, str(number))
    # Former releases kept a second model for the image service, with aliases of its own. They do not follow.
    with contextlib.suppress(MlflowException):
        if alias in client.get_registered_model(f"{name}{IMAGES}").aliases:
            client.delete_registered_model_alias(f"{name}{IMAGES}", alias)
            log.warning(
                "%s%s is no longer needed: %s serves images itself. Its alias %s named another version and was removed",
                name, IMAGES, name, alias,
            )  # fmt: skip


def model_of_run(run_id: str) -> str:
    """The address of the model that a run has logged, for `download`.

    Raises:
        SrganError: it has none.
    """
    outputs = store.connect().get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        raise SrganError(f"run {run_id}: has no model; it gets one by: dvc repro register")
    return f"models:/{outputs.model_outputs[-1].model_id}"


def download(uri: str, folder: Path) -> Path:
    """Bring the `.onnx` file of ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/MODEL_ID`` into `folder`.

    Raises:
        SrganError: there is none, or the server cannot be reached.
    """
    try:
        client = store.connect()
        known, place = _digest(client, uri), uri
        if found := MODEL_ID.fullmatch(uri):  # MLflow takes no path after such an address
            place = client.get_logged_model(found[1]).artifact_location
        described = Path(mlflow.artifacts.download_artifacts(f"{place}/MLmodel", dst_path=str(folder)))
        inside = str(Model.load(str(described)).flavors.get("onnx", {}).get("data", ""))
        if not inside.endswith(".onnx"):
            raise SrganError(f"{uri}: holds no .onnx file")
        for part in inside.split("/"):
            plain_name(part, f"{uri}: MLmodel: onnx: data")
        path = Path(mlflow.artifacts.download_artifacts(f"{place}/{inside}", dst_path=str(folder)))
    except Exception as error:  # see tracking.try_sync
        why = store.explained(error)
        raise type(why)(str(why) if uri in str(why) else f"{uri}: {why}") from error
    if known and sha256(path) != known:
        raise SrganError(f"{uri}: {path.name} is damaged: its SHA-256 is not that of the version's tag {DIGEST_TAG}; register it again")
    return path


def _digest(client: MlflowClient, uri: str) -> str | None:
    """The digest that was recorded when the model was registered."""
    if found := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri):
        return client.get_model_version_by_alias(*found.groups()).tags.get(DIGEST_TAG)
    if found := re.fullmatch(r"models:/([^/@]+)/(\d+)", uri):
        return client.get_model_version(*found.groups()).tags.get(DIGEST_TAG)
    if found := MODEL_ID.fullmatch(uri):
        return client.get_logged_model(found[1]).tags.get(DIGEST_TAG)
    return None


class Followed:
    """Where the file of ``models:/NAME@ALIAS`` lies on this machine: called, it asks the registry anew, and brings what it has not yet.

    For `Upscaler`, whose `refresh` then takes up whichever version bears the alias by now. The files go when the object does.

    Args:
        uri: ``models:/NAME@ALIAS``.
        period: seconds for which an answer holds.

    Raises:
        SrganError: no version bears the alias, or (`Unreachable`) the server cannot be reached.
    """

    def __init__(self, uri: str, period: float = 60.0) -> None:
        found = re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri)
        if not found:
            raise SrganError(f"{uri}: no model that can be followed; name one as models:/NAME@ALIAS")
        self.name, self.alias = found.groups()
        self._folder = tempfile.TemporaryDirectory()
        self._files: dict[str, Path] = {}  # by version
        self._period, self._asked, self._path = period, -math.inf, Path()

    def __call__(self) -> Path:
        """The path."""
        if time.monotonic() - self._asked < self._period:
            return self._path
        self._asked = time.monotonic()  # also where the server does not answer: it is not to hold up each photograph
        found = version(self.name, self.alias)
        if found is None:
            raise SrganError(f"{self.name}: no version has the alias {self.alias}; give it one with: srgan promote")
        number = str(found.version)
        if number not in self._files:
            self._files[number] = download(f"models:/{self.name}/{number}", Path(self._folder.name) / number)
        self._path = self._files[number]
        return self._path


def _scores_path(digest: str) -> str:
    return f"scores/{digest[:16]}.csv"


def _find(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((one for one in found if one.tags.get(DIGEST_TAG) == digest), None)


def _create(client: MlflowClient, path: Path, run_id: str, name: str) -> ModelVersion:
    content = sha256(path)
    with mlflow.start_run(run_id=run_id):  # the model then belongs to the run's experiment
        info = Model.log(
            artifact_path=None,
            flavor=GraphAndService,
            name="model",
            registered_model_name=name,
            tags={DIGEST_TAG: content},
            onnx_file=path,
        )
    client.set_model_version_tag(name, str(info.registered_model_version), DIGEST_TAG, content)
    return client.get_model_version(name, str(info.registered_model_version))


class GraphAndService:
    """How a version is saved: for `mlflow.onnx` it is the graph, for `mlflow.pyfunc` and ``mlflow models serve`` a service of image files.

    One version that is both cannot get out of step with itself, whoever moves an alias.
    """

    @staticmethod
    def save_model(path: str, mlflow_model: Model, onnx_file: Path) -> None:
        """Write the folder of the model; `Model.log` calls this."""
        package = Path(__file__).parents[1]
        images = Schema([ColSpec("binary", "image")])
        pyfunc.save_model(
            path=path,
            mlflow_model=mlflow_model,
            python_model=str(package / "inference" / "serve.py"),
            artifacts={"model": str(onnx_file)},
            code_paths=[str(package)],
            signature=ModelSignature(inputs=images, outputs=images),
            # Given, not inferred: inference would start a process that loads the model.
            pip_requirements=service_requirements(),
        )
        mlflow_model.flavors["python_function"]["model_code_path"] = "serve.py"  # MLflow writes this machine's path, and uses the name
        mlflow_model.add_flavor(
            "onnx",
            onnx_version=onnx.__version__,
            data=f"artifacts/{onnx_file.name}",
            providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
            onnx_session_options=None,
            code=None,
        )
        mlflow_model.save(str(Path(path) / "MLmodel"))


def service_requirements() -> list[str]:
    """What the image service needs, in the versions that are installed here."""
    runtime = next(name for name in ("onnxruntime-gpu", "onnxruntime") if _installed(name))
    return [f"{name}=={_installed(name.partition('[')[0])}" for name in sorted([*SERVICE, runtime])]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
