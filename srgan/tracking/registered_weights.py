"""Weights of registered models, from which a training can start. The registered `.onnx` file cannot be trained."""

import tempfile
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.config.training import REGISTERED
from srgan.tracking import store
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, sha256

WEIGHTS_TAG = "srgan.weights_sha256"
RUN_TAG = "srgan.weights_run"  # run that has the weights as an artifact
DIGITS = 12  # of a digest in an address


def upload(client: MlflowClient, run_id: str, path: Path, found: ModelVersion | None) -> dict[str, str]:
    """Store the weights of a version with its run, if they are not there yet. Returns the tags that name them."""
    digest = sha256(path)
    if found and found.tags.get(WEIGHTS_TAG) == digest:
        return {}
    client.log_artifact(run_id, str(path), f"weights/{digest[:16]}")
    return {WEIGHTS_TAG: digest, RUN_TAG: run_id}


def digest_of(project: Project, address: str) -> str:
    """Return the SHA-256 of the weights behind an address of `srgan.config.training.REGISTERED`.

    Raises:
        SrganError: there is no such version, it has no weights, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    return find_version(project, address).tags[WEIGHTS_TAG]


def fetch(project: Project, address: str) -> Path:
    """Return the weights behind an address. They are downloaded once into the user's cache folder.

    An address with a digest names the same weights after its alias moved, and needs no server when they are in the cache.

    Raises:
        SrganError: there is no such version, its weights are lost or damaged, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    folder, (digest,) = cache_folder() / "registered", _parts(address)[3:]
    for path in folder.glob(f"{digest}*.safetensors") if digest else ():
        if sha256(path) == path.stem:
            return path
    found = find_version(project, address)
    path = folder / f"{found.tags[WEIGHTS_TAG]}.safetensors"
    if path.is_file() and sha256(path) == path.stem:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            client, run_id = store.connect(project), found.tags[RUN_TAG]
            (artifact,) = client.list_artifacts(run_id, f"weights/{path.stem[:16]}")
            content = Path(client.download_artifacts(run_id, artifact.path, temporary)).read_bytes()
    except Exception as error:  # see `mlflow_run.try_sync`
        why = store.explained(project, error)
        raise type(why)(f"{address}: its weights cannot be downloaded: {why}") from error
    with atomic_file(path) as temporary_file:
        temporary_file.write_bytes(content)
    if sha256(path) != path.stem:
        path.unlink()
        raise SrganError(f"{address}: the weights in MLflow are damaged: their SHA-256 differs from the tag {WEIGHTS_TAG} of the version")
    return path


def _parts(address: str) -> tuple[Any, ...]:
    match = REGISTERED.fullmatch(address)
    if not match:
        raise SrganError(f"{address}: not the address of a model. Name one as models:/NAME@ALIAS or models:/NAME/VERSION")
    return match.groups()


def find_version(project: Project, address: str) -> ModelVersion:
    """Return the version of an address. A digest decides, then the alias or number.

    Raises:
        SrganError: there is no such version, it has no weights, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    name, alias, number, digest = _parts(address)
    try:
        client = store.connect(project)
        if digest:
            versions = client.search_model_versions(f"name = '{name}'")
            found = next((version for version in versions if version.tags.get(WEIGHTS_TAG, "").startswith(digest)), None)
        elif alias:
            found = client.get_model_version_by_alias(name, alias)
        else:
            found = client.get_model_version(name, number)
    except Exception as error:  # see `mlflow_run.try_sync`
        if isinstance(error, MlflowException) and error.error_code in store.NOT_FOUND:
            known = ", ".join(_addresses(client)) or "none"
            raise SrganError(f"{address}: no such model, alias or version. Registered: {known}") from error
        why = store.explained(project, error)
        raise type(why)(f"{address}: {why}") from error
    if found is None:
        raise SrganError(f"{address}: no version of {name} has weights with this digest. Remove # and the digest to take the present one")
    if WEIGHTS_TAG not in found.tags:
        raise SrganError(
            f"{address}: version {found.version} was registered without its weights, by an earlier release. Register it again with: "
            "dvc repro register, or name a file of weights"
        )
    return found


def _addresses(client: MlflowClient) -> list[str]:
    """Return the addresses of all versions that have an alias."""
    return [f"models:/{model.name}@{alias}" for model in client.search_registered_models() for alias in sorted(model.aliases)]
