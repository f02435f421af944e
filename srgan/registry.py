"""The model registry: versions found by what they hold, named by aliases."""

import contextlib
import logging
import math
import os
import platform
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow import onnx as mlflow_onnx
from mlflow import pyfunc
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec

from srgan import evaluation, tracking
from srgan.errors import SrganError, Unreachable
from srgan.files import sha256

DIGEST_TAG = "srgan.onnx_sha256"
TEST_TAG = "srgan.test_sha256"  # the images that the version's scores are of
IMAGES, TWIN_TAG = "-images", "srgan.version"  # a version's twin takes and returns image files; the tag names the version
DIFFERENCE_TAG = "srgan.onnx_difference"  # from PyTorch, at most
CHAMPIONS_TAG = "srgan.champions"  # of the registered model: its champions in order, the present one last
LOCK_TAG = "srgan.promotion"  # of the registered model: who is at work
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # what a server that works says of a name it does not know
LOCK_SECONDS, SETTLE_SECONDS = 120.0, 1.0

log = logging.getLogger(__name__)


def register(
    path: Path, training: tracking.Training, name: str, alias: str, tags: dict[str, str], table: pd.DataFrame, card: str
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
        Unreachable: the server cannot be reached or refuses; nothing is lost, the stage can be run again.
    """
    try:
        client = tracking.connect()
        run_id = tracking.sync(training)
        found = _find(client, name, sha256(path)) or _create(client, path, run_id, name)
        place = Path(_scores_path(sha256(path)))
        with tempfile.TemporaryDirectory() as folder:
            table.to_csv(Path(folder) / place.name, index=False)
            client.log_artifact(run_id, str(Path(folder) / place.name), str(place.parent))
        if not _twin(client, name, found.version):
            _create_twin(client, path, run_id, name, found.version)
        client.log_text(run_id, card, "MODEL_CARD.md")
        client.update_model_version(name, found.version, card)
        for key, value in tags.items():  # after the scores that they speak of
            client.set_model_version_tag(name, found.version, key, value)
        _give_alias(client, name, alias, found.version)
        client.set_terminated(run_id, "FINISHED")
    except SrganError:
        raise
    except Exception as error:  # see tracking.try_sync
        raise Unreachable(
            f"MLflow's registry refused {path}: {tracking.reason(error)}; the model is safe, run again: dvc repro register"
        ) from error
    return {"name": name, "version": int(found.version), "alias": alias, "run_id": run_id}


def find(name: str, alias: str, folder: Path) -> Path | None:
    """Bring the version of `name` that bears `alias` into `folder`; None if there is none.

    Raises:
        Unreachable: the server cannot be reached, or has lost the file.
    """
    return download(f"models:/{name}@{alias}", folder) if version(name, alias) else None


def version(name: str, alias: str) -> ModelVersion | None:
    """The version of `name` that bears `alias`; None if there is none.

    Raises:
        Unreachable: the server cannot be reached.
    """
    try:
        return tracking.connect().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise Unreachable(f"MLflow: {tracking.reason(error)}") from error
    except Exception as error:  # see tracking.try_sync
        raise Unreachable(f"MLflow: {tracking.reason(error)}") from error


def scores(found: ModelVersion, test_sha256: str) -> pd.DataFrame | None:
    """The scores per image that were registered with a version; None if there are none, or they are of other images."""
    if found.tags.get(TEST_TAG) != test_sha256 or not found.run_id:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = tracking.connect().download_artifacts(found.run_id, _scores_path(found.tags[DIGEST_TAG]), folder)
            return evaluation.read_table(path)
    except Exception as error:  # see tracking.try_sync
        log.warning("MLflow: the scores of version %s cannot be had (%s)", found.version, tracking.reason(error))
        return None


def tag(name: str, number: str, tags: dict[str, str]) -> None:
    """Set tags of a version.

    Raises:
        Unreachable: the server cannot be reached or refuses.
    """
    try:
        client = tracking.connect()
        for key, value in tags.items():
            client.set_model_version_tag(name, str(number), key, value)
    except Exception as error:  # see tracking.try_sync
        raise Unreachable(f"MLflow: {tracking.reason(error)}") from error


def crown(name: str, number: str, former: str | None) -> None:
    """Make a version the champion, if `former` still is (None: if there still is none).

    Raises:
        SrganError: another promotion is at work or came first, or the server cannot be reached; the champion is then as that left it.
    """
    with _promotion(name) as client:
        now = version(name, "champion")
        if (str(now.version) if now else None) != (str(former) if former else None):
            other = f"version {now.version} became the champion" if now else "the champion was taken away"
            raise SrganError(f"{name}: {other} meanwhile; nothing was changed, decide again: srgan promote")
        line = [entry for entry in _champions(client, name) if entry not in (str(number), str(former))]
        line += [str(former)] if former else []  # also one that was made the champion by hand
        client.set_registered_model_tag(name, CHAMPIONS_TAG, ",".join([*line, str(number)]))
        _give_alias(client, name, "champion", str(number))


def uncrown(name: str) -> tuple[str, str]:
    """Give the alias ``champion`` back to the one before. Returns the versions that had and have it.

    Raises:
        SrganError: there was none before, another promotion is at work, or the server cannot be reached.
    """
    with _promotion(name) as client:
        now = version(name, "champion")
        line = _champions(client, name)
        if now is None or len(line) < 2 or line[-1] != str(now.version):
            raise SrganError(f"{name}: there is no former champion to go back to ({CHAMPIONS_TAG}: {','.join(line) or 'none'})")
        _give_alias(client, name, "champion", line[-2])
        client.set_registered_model_tag(name, CHAMPIONS_TAG, ",".join(line[:-1]))
        return line[-1], line[-2]


def _give_alias(client: MlflowClient, name: str, alias: str, number: str) -> None:
    """To a version, and to its twin that takes image files (`srgan.service`)."""
    client.set_registered_model_alias(name, alias, str(number))
    if twin := _twin(client, name, number):
        client.set_registered_model_alias(f"{name}{IMAGES}", alias, twin.version)


def _champions(client: MlflowClient, name: str) -> list[str]:
    return [entry for entry in client.get_registered_model(name).tags.get(CHAMPIONS_TAG, "").split(",") if entry]


@contextlib.contextmanager
def _promotion(name: str) -> Iterator[MlflowClient]:
    """Be the only one who changes the champion. MLflow has no locks: who finds his own mark after a moment has come first."""
    own = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        client = tracking.connect()
        mark = client.get_registered_model(name).tags.get(LOCK_TAG, "")
        whose, _, since = mark.rpartition("@")
        if mark and time.time() - float(since) < LOCK_SECONDS:
            raise SrganError(f"{name}: another promotion is at work ({whose}); nothing was changed, try again in a minute")
        client.set_registered_model_tag(name, LOCK_TAG, f"{own}@{time.time():.0f}")
        time.sleep(SETTLE_SECONDS)
        winner = client.get_registered_model(name).tags.get(LOCK_TAG, "").rpartition("@")[0]
        if winner != own:
            raise SrganError(f"{name}: another promotion came first ({winner}); nothing was changed, decide again: srgan promote")
        try:
            yield client
        finally:
            client.delete_registered_model_tag(name, LOCK_TAG)
    except SrganError:
        raise
    except Exception as error:  # see tracking.try_sync
        raise SrganError(f"MLflow: {tracking.reason(error)}; see who is the champion with: make mlflow") from error


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
        kind = SrganError if getattr(error, "error_code", "") in NOT_THERE else Unreachable
        raise kind(f"{uri}: {tracking.reason(error)}") from error
    if not found:
        raise SrganError(f"{uri}: holds no .onnx file")
    return found[0]


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


def _twin(client: MlflowClient, name: str, number: str) -> ModelVersion | None:
    """The version of ``NAME-images`` that takes and returns image files."""
    found = client.search_model_versions(f"name = '{name}{IMAGES}'")
    return next((one for one in found if one.tags.get(TWIN_TAG) == str(number)), None)


def _create_twin(client: MlflowClient, path: Path, run_id: str, name: str, number: str) -> None:
    package = Path(__file__).parent
    with mlflow.start_run(run_id=run_id):
        info = pyfunc.log_model(
            name="service",  # not images: so MLflow calls the folder of the pictures by step
            python_model=str(package / "service.py"),
            artifacts={"model": str(path)},
            code_paths=[str(package)],
            signature=ModelSignature(inputs=Schema([ColSpec("binary", "image")]), outputs=Schema([ColSpec("binary", "image")])),
            pip_requirements=["mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "psutil", "pyvips[binary]"],
            registered_model_name=f"{name}{IMAGES}",
        )
    client.set_model_version_tag(f"{name}{IMAGES}", str(info.registered_model_version), TWIN_TAG, str(number))


def _scores_path(digest: str) -> str:
    return f"scores/{digest[:16]}.csv"


def _find(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((one for one in found if one.tags.get(DIGEST_TAG) == digest), None)


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
