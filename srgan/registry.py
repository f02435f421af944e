"""The model registry: versions found by what they hold, named by aliases."""

import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow import onnx as mlflow_onnx
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from srgan import tracking
from srgan.errors import SrganError
from srgan.files import sha256

DIGEST_TAG = "srgan.onnx_sha256"

log = logging.getLogger(__name__)


def register(path: Path, training: tracking.Training, name: str, alias: str, tags: dict[str, str]) -> dict[str, Any]:
    """Put an `.onnx` file into the registry as a new version of `name`, and point `alias` to it.

    The same file twice makes no second version.

    Returns:
        `name`, `version`, `alias`, `run_id`.

    Raises:
        SrganError: the server cannot be reached or refuses; nothing is lost, the stage can be run again.
    """
    try:
        client = tracking.connect()
        run_id = tracking.sync(training)
        version = _find(client, name, sha256(path)) or _create(client, path, run_id, name)
        for key, value in tags.items():
            client.set_model_version_tag(name, version.version, key, value)
        client.set_registered_model_alias(name, alias, version.version)
        client.set_terminated(run_id, "FINISHED")
    except Exception as error:  # see tracking.try_sync
        raise SrganError(
            f"MLflow's registry refused {path}: {tracking.reason(error)}; the model is safe, run again: dvc repro register"
        ) from error
    return {"name": name, "version": int(version.version), "alias": alias, "run_id": run_id}


def find(name: str, alias: str, folder: Path) -> Path | None:
    """Bring the version of `name` that bears `alias` into `folder`; None if there is none.

    Raises:
        SrganError: the server cannot be reached, or has lost the file.
    """
    try:
        tracking.connect().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise SrganError(f"MLflow: {tracking.reason(error)}") from error
    except Exception as error:  # see tracking.try_sync
        raise SrganError(f"MLflow: {tracking.reason(error)}") from error
    return download(f"models:/{name}@{alias}", folder)


def model_of_run(run_id: str) -> str:
    """The address of the model that a run has logged, for `download`.

    Raises:
        SrganError: it has none.
    """
    outputs = tracking.connect().get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        raise SrganError(f"run {run_id}: has no model; it gets one by: dvc repro register")
    return f"models:/{outputs.model_outputs[-1].model_id}"


def download(uri: str, folder: Path) -> Path:
    """Bring the `.onnx` file of ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/MODEL_ID`` into `folder`.

    Raises:
        SrganError: there is none, or the server cannot be reached.
    """
    try:
        tracking.connect()
        found = sorted(Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder))).rglob("*.onnx"))
    except Exception as error:  # see tracking.try_sync
        raise SrganError(f"{uri}: {tracking.reason(error)}") from error
    if not found:
        raise SrganError(f"{uri}: holds no .onnx file")
    return found[0]


def _find(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((version for version in found if version.tags.get(DIGEST_TAG) == digest), None)


def _create(client: MlflowClient, path: Path, run_id: str, name: str) -> ModelVersion:
    pixels = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(pixels, (-1, 3, -1, -1), "input")]),
        outputs=Schema([TensorSpec(pixels, (-1, 3, -1, -1), "output")]),
    )
    with mlflow.start_run(run_id=run_id):
        info = mlflow_onnx.log_model(
            onnx.load(path),
            name="model",
            signature=signature,
            # Given, not inferred: inference would start a process that loads the model.
            pip_requirements=["mlflow", "numpy", "onnx", "onnxruntime"],
            registered_model_name=name,
            save_as_external_data=False,
        )
    client.set_model_version_tag(name, str(info.registered_model_version), DIGEST_TAG, sha256(path))
    return client.get_model_version(name, str(info.registered_model_version))
