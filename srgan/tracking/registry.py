"""The model registry: versions are found by their digest and named by aliases."""

import contextlib
import importlib.metadata
import logging
import math
import re
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

from srgan.config.project import Project
from srgan.evaluation import evaluate
from srgan.tracking import mlflow_run, registered_weights, store
from srgan.tracking.training_record import TrainingRecord
from srgan.utils.errors import SrganError
from srgan.utils.files import plain_name, sha256

DIGEST_TAG = "srgan.onnx_sha256"
TEST_TAG = "srgan.test_sha256"  # digest of the test images of the scores
SCORES_TAG = "srgan.scores_run"  # run that has the scores as an artifact
DIFFERENCE_TAG = "srgan.onnx_difference"  # largest difference from PyTorch
TRIAL_TAG = "srgan.trial"  # of a version that a service rolled back: the reason
MODEL_ID = re.compile(r"models:/(m-[0-9a-f]+)")
IMAGES = "-images"  # suffix of a second model that former releases registered
SERVICE = ("filelock", "mlflow", "numpy", "onnx", "opencv-python-headless", "pandas", "pillow", "psutil", "pyvips[binary]", "tifffile")

log = logging.getLogger(__name__)


def register(
    path: Path, weights: Path, training: TrainingRecord, name: str, alias: str, tags: dict[str, str], table: pd.DataFrame, card: str
) -> dict[str, Any]:
    """Register an `.onnx` file as a new version of a model and give it an alias.

    A file that is registered already keeps its version.

    Args:
        path: the file.
        weights: file of the same weights, from which a training can start.
        training: record of its training.
        name: of the registered model.
        alias: for the version.
        tags: for the version.
        table: scores of the file for each image.
        card: the model card, which becomes the description of the version.

    Returns:
        `name`, `version`, `alias` and `run_id`.

    Raises:
        SrganError: MLflow refuses. The stage can be run again.
        Unreachable: MLflow does not answer. The stage can be run again.
    """
    try:
        client = store.connect(training.project)
        run_id = mlflow_run.sync(training)
        place = Path(_scores_path(sha256(path)))
        with tempfile.TemporaryDirectory() as folder:
            table.to_csv(Path(folder) / place.name, index=False)
            client.log_artifact(run_id, str(Path(folder) / place.name), str(place.parent))
        client.log_text(run_id, card, "MODEL_CARD.md")
        tags = tags | {SCORES_TAG: run_id}
        with store.one_registration(training.project):
            uri = store.tracking_uri(training.project)
            found = _find(client, name, sha256(path))
            tags |= registered_weights.upload(client, run_id, weights, found)
            found = found or _create(client, uri, path, run_id, name, tags, card)
        if found.description != card:
            client.update_model_version(name, found.version, card)
        for key, value in tags.items():
            if found.tags.get(key) != value:
                client.set_model_version_tag(name, found.version, key, value)
        set_alias(client, name, alias, found.version)
        client.set_terminated(run_id, "FINISHED")
    except Exception as error:  # see `mlflow_run.try_sync`
        why = store.explained(training.project, error, name)
        raise type(why)(f"{path} is not registered: {why}. The model is safe, run again: dvc repro register") from error
    return {"name": name, "version": int(found.version), "alias": alias, "run_id": run_id}


def find(project: Project, name: str, alias: str, folder: Path) -> Path | None:
    """Download the version of `name` with an alias into `folder`. Return None if no version has the alias.

    Raises:
        SrganError: the file is lost or damaged, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    return download(project, f"models:/{name}@{alias}", folder) if version(project, name, alias) else None


def version(project: Project, name: str, alias: str) -> ModelVersion | None:
    """Return the version of `name` with an alias, or None.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        return store.connect(project).get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in store.NOT_FOUND:
            return None
        raise store.explained(project, error, name) from error
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error, name) from error


def version_of(project: Project, name: str, digest: str) -> ModelVersion | None:
    """Return the version of `name` whose file has this SHA-256, with its tags, or None.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        return _find(store.connect(project), name, digest)
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error, name) from error


def aliases(project: Project) -> list[str]:
    """Return the addresses of all registered models that have an alias, as ``models:/NAME@ALIAS``.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        found = store.connect(project).search_registered_models()
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error) from error
    return [f"models:/{model.name}@{alias}" for model in found for alias in sorted(model.aliases)]


def scores(project: Project, found: ModelVersion, test_sha256: str) -> pd.DataFrame | None:
    """Return the scores for each image that were registered with a version, or None if they are missing or of other images."""
    if found.tags.get(TEST_TAG) != test_sha256 or not found.run_id:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_id = found.tags.get(SCORES_TAG, found.run_id)
            path = store.connect(project).download_artifacts(run_id, _scores_path(found.tags[DIGEST_TAG]), folder)
            return evaluate.read_table(path)
    except Exception as error:  # see `mlflow_run.try_sync`
        log.warning("the scores of version %s are missing (%s)", found.version, store.explained(project, error))
        return None


def tag(project: Project, name: str, number: str, tags: dict[str, str]) -> None:
    """Set tags of a version.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        client = store.connect(project)
        for key, value in tags.items():
            client.set_model_version_tag(name, str(number), key, value)
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error, name) from error


def set_alias(client: MlflowClient, name: str, alias: str, number: str) -> None:
    """Set the alias of a version."""
    client.set_registered_model_alias(name, alias, str(number))
    # Former releases registered a second model for the image service, with the same aliases. They would name an old version.
    with contextlib.suppress(MlflowException):
        if alias in client.get_registered_model(f"{name}{IMAGES}").aliases:
            client.delete_registered_model_alias(f"{name}{IMAGES}", alias)
            log.warning(
                "%s%s is no longer needed, as %s serves images itself. Its alias %s was removed",
                name, IMAGES, name, alias,
            )  # fmt: skip


def model_of_run(project: Project, run_id: str) -> str:
    """Return the address of the model of a run, for `download`.

    Raises:
        SrganError: the run has no model.
    """
    outputs = store.connect(project).get_run(run_id).outputs
    if not outputs or not outputs.model_outputs:
        raise SrganError(f"run {run_id}: no model. Register one with: dvc repro register")
    return f"models:/{outputs.model_outputs[-1].model_id}"


def download(project: Project, uri: str, folder: Path) -> Path:
    """Download the `.onnx` file of ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/MODEL_ID``.

    Args:
        project: whose MLflow store has the model.
        uri: the address.
        folder: for the file.

    Raises:
        SrganError: the model is missing or damaged, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        client = store.connect(project)
        known, place = _locate(client, uri)
        address = store.tracking_uri(project)
        described = Path(download_artifacts(f"{place}/MLmodel", dst_path=str(folder), tracking_uri=address))
        inside = str(Model.load(str(described)).flavors.get("onnx", {}).get("data", ""))
        if not inside.endswith(".onnx"):
            raise SrganError(f"{uri}: has no .onnx file")
        for part in inside.split("/"):
            plain_name(part, f"{uri}: MLmodel: onnx: data")
        path = Path(download_artifacts(f"{place}/{inside}", dst_path=str(folder), tracking_uri=address))
    except Exception as error:  # see `mlflow_run.try_sync`
        why = store.explained(project, error)
        raise type(why)(str(why) if uri in str(why) else f"{uri}: {why}") from error
    if known and sha256(path) != known:
        raise SrganError(f"{uri}: {path.name} is damaged: its SHA-256 differs from the tag {DIGEST_TAG} of the version. Register it again")
    return path


def _locate(client: MlflowClient, uri: str) -> tuple[str | None, str]:
    """Return the digest that was recorded for a model, and the place of its artifacts."""
    found: Any
    if match := MODEL_ID.fullmatch(uri):
        found = client.get_logged_model(match[1])
        return found.tags.get(DIGEST_TAG), found.artifact_location
    if match := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri):
        found = client.get_model_version_by_alias(*match.groups())
    elif match := re.fullmatch(r"models:/([^/@]+)/(\d+)", uri):
        found = client.get_model_version(*match.groups())
    else:
        raise SrganError(f"{uri}: not the address of a model. Name one as models:/NAME@ALIAS or models:/NAME/VERSION")
    return found.tags.get(DIGEST_TAG), client.get_model_version_download_uri(found.name, found.version)


class AliasTracker:
    """Follow an alias of the registry: a call returns the local file of its current version, and downloads a new one.

    `Upscaler` takes it in place of a path. Its method `refresh` then loads the version that has the alias now. The files are temporary.

    Args:
        project: whose MLflow store has the model.
        uri: ``models:/NAME@ALIAS``.
        period: seconds until the registry is asked again.

    Raises:
        SrganError: no version has the alias, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """

    def __init__(self, project: Project, uri: str, period: float = 60.0) -> None:
        found = re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri)
        if not found:
            raise SrganError(f"{uri}: not an alias. Name the model as models:/NAME@ALIAS")
        self.project = project
        self.name, self.alias = found.groups()
        self._folder = tempfile.TemporaryDirectory()
        self._files: dict[str, Path] = {}  # by version
        self._period, self._asked, self._path = period, -math.inf, Path()

    def __call__(self) -> Path:
        """Return the path of the current version."""
        if time.monotonic() - self._asked < self._period:
            return self._path
        self._asked = time.monotonic()  # also if the server does not answer, so that an outage does not delay each image
        found = version(self.project, self.name, self.alias)
        if found is None:
            raise SrganError(f"{self.name}: no version has the alias {self.alias}. Give it one with: srgan promote")
        number = str(found.version)
        if number not in self._files:
            self._files[number] = download(self.project, f"models:/{self.name}/{number}", Path(self._folder.name) / number)
        self._path = self._files[number]
        return self._path

    def version_of(self, path: Path) -> str:
        """Return the version of a file that a call returned."""
        return next(number for number, file in self._files.items() if file == path)


def _scores_path(digest: str) -> str:
    return f"scores/{digest[:16]}.csv"


def _find(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((one for one in found if one.tags.get(DIGEST_TAG) == digest), None)


def _create(client: MlflowClient, uri: str, path: Path, run_id: str, name: str, version_tags: dict[str, str], card: str) -> ModelVersion:
    """Log the file as a model of the run and register it.

    `mlflow.models.Model.log` does the same with MLflow's global address and its stack of active runs, which all threads share.
    """
    run, tags = client.get_run(run_id), {DIGEST_TAG: sha256(path)}
    logged = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id, tags=tags, params=run.data.params)
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        _log_scores(client, run, logged.model_id)
        with tempfile.TemporaryDirectory() as folder:
            described = Model(logged.artifact_location, run_id, model_uuid=logged.model_id, model_id=logged.model_id)
            write_model(Path(folder) / "model", described, path)
            client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    except Exception:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # A server finds the model by its id. A database is read by this process, where MLflow would look at its global address.
    source = f"models:/{logged.model_id}" if uri.startswith("http") else logged.artifact_location
    return client.create_model_version(name, source, run_id, tags | version_tags, description=card, model_id=logged.model_id)


def _log_scores(client: MlflowClient, run: Run, model_id: str) -> None:
    """Show the scores of the run on the page of its model as well.

    Scores have step 0, curves end at a later one. The times of the points are in the message alone. The history takes a request for each.
    """
    points = [point for point in run.to_proto().data.metrics if point.step == 0]
    scores = [Metric(point.key, point.value, point.timestamp, 0, model_id=model_id) for point in points]
    client.log_batch(run.info.run_id, metrics=scores)


def write_model(folder: Path, described: Model, onnx_file: Path) -> None:
    """Write the folder of a version: the graph for `mlflow.onnx`, and a service of image files for `mlflow.pyfunc`.

    Both are one version, so that an alias always names the same weights for both. The service needs this package, which is one zip file on
    Python's path. A server takes a request for each file.
    """
    package = Path(__file__).parents[1]
    images = Schema([ColSpec("binary", "image")])
    with tempfile.TemporaryDirectory() as temporary:
        code = _zipped(package, Path(temporary))
        pyfunc.save_model(
            path=str(folder),
            mlflow_model=described,
            python_model=str(package / "inference" / "serve.py"),
            artifacts={"model": str(onnx_file)},
            code_paths=[str(code)],
            signature=ModelSignature(inputs=images, outputs=images),
            # Stated, because MLflow would start a process that loads the model to infer them.
            pip_requirements=service_requirements(),
        )
    service = described.flavors["python_function"]
    service["model_code_path"] = "serve.py"  # MLflow writes this machine's path, and uses the name
    service["code"] += f"/{code.name}"  # MLflow puts this path before those of Python
    described.add_flavor(
        "onnx",
        onnx_version=onnx.__version__,
        data=f"artifacts/{onnx_file.name}",
        providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )
    described.save(str(folder / "MLmodel"))


def _zipped(package: Path, folder: Path) -> Path:
    """Write the modules of a package as a zip file. Equal modules give equal bytes.

    The image service reads no other file of the package, such as profiles, catalogs or templates.
    """
    path = folder / f"{package.name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for module in sorted(package.rglob("*.py")):
            entry = zipfile.ZipInfo(module.relative_to(package.parent).as_posix())  # without the time of the file
            archive.writestr(entry, module.read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def service_requirements() -> list[str]:
    """Return the packages that the image service needs, in the installed versions."""
    runtime = next(name for name in ("onnxruntime-gpu", "onnxruntime") if _installed(name))
    return [f"{name}=={_installed(name.partition('[')[0])}" for name in sorted([*SERVICE, runtime])]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
