"""The MLflow server or local store: its address, its owner and its errors."""

import contextlib
import json
import logging
import os
import platform
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

# Before mlflow is imported: with its defaults, each call to a dead server blocks for four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a model has few files, so that a bar would only flicker

import mlflow
import requests
from mlflow.exceptions import MlflowException, RestException, get_error_code
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as tracking_service
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy.exc import OperationalError

from srgan.config.project import Project
from srgan.utils.errors import SrganError, Unreachable, reason
from srgan.utils.file_systems import CHECK_KEYS
from srgan.utils.files import atomic_file, one_at_a_time, read_json_or_none

LOCATIONS = (  # columns of MLflow's tables that have absolute paths of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # a working server's answers for an unknown name
OUTAGES = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED")

_opened: set[Path] = set()  # databases that this process opened

log = logging.getLogger(__name__)


def home(project: Project) -> Path:
    """Return the folder of the local store, ``mlflow/`` of the working copy, as an absolute path."""
    return project.working_copy.root.resolve() / "mlflow"


def tracking_uri(project: Project) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, else a SQLite file under ``mlflow/``. The path of a SQLite file is absolute."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow/mlflow.db"
    if not uri.startswith("sqlite:///"):
        return uri
    # MLflow keeps a store open for each address, so that the address must not depend on the working directory.
    return f"sqlite:///{project.working_copy.root.resolve() / uri.removeprefix('sqlite:///')}"


def experiment_name() -> str:
    """Return the experiment of all runs: ``MLFLOW_EXPERIMENT_NAME`` if it is set, else ``srgan``."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "srgan"


def is_local(project: Project) -> bool:
    """Return True if the store is the one of the working copy."""
    return _database(project) == (home(project) / "mlflow.db").resolve()


def connect(project: Project) -> MlflowClient:
    """Return a client of the tracking server or the local store. A missing local store is created.

    The client knows its address. No global state of MLflow is set, so that two projects work in one process.
    """
    uri, database = tracking_uri(project), _database(project)
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if database is None:
        return MlflowClient(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(database.parent, os.W_OK):  # MLflow would retry for minutes
        raise PermissionError(13, "not writable", str(database.parent))
    _relocate(database)
    # MLflow remembers the artifact folder of a run for the whole process. A copied project has the same runs in another folder.
    tracking_service._artifact_repos_cache.clear()
    if database in _opened:
        return MlflowClient(uri)
    with one_at_a_time(f"{database}.lock", timeout=300):  # two processes must not create the tables at once
        if not database.exists():
            _create(database)
        client = MlflowClient(uri)
        client.search_registered_models(max_results=1)  # the registry creates tables too
    _opened.add(database)
    return client


@contextlib.contextmanager
def one_registration(project: Project) -> Iterator[None]:
    """Let one command at a time add a version to a local store. A server has no such lock."""
    database = _database(project)
    with one_at_a_time(f"{database}.register.lock", timeout=600) if database else contextlib.nullcontext():
        yield


def _create(database: Path) -> None:
    """Create the tables, in a file that gets its name when it is complete.

    MLflow runs dozens of migrations. SQLite keeps those of a killed process, and MLflow cannot continue them.
    """
    with atomic_file(database) as temporary:
        engine = create_sqlalchemy_engine(f"sqlite:///{temporary}")
        _initialize_tables(engine)
        engine.dispose()


def _database(project: Project) -> Path | None:
    uri = tracking_uri(project)
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _artifacts(project: Project, database: Path) -> Path:
    """Return the folder for artifacts. It is next to the database, but never in the root of the project, which git tracks."""
    return (home(project) if database.parent == home(project).parent else database.parent) / "artifacts"


def _relocate(database: Path) -> None:
    """Adapt the absolute paths in a project's local store after the project's folder was renamed, moved or copied."""
    if database.parts[-2:] != ("mlflow", "mlflow.db") or not database.is_file():
        return
    here = database.parent.parent.as_uri()
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as store, store:
        try:
            known = [location for (location,) in store.execute("SELECT artifact_location FROM experiments")]
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):  # else the paths of a copy would still name the original
                raise
            return  # not created yet or damaged, which MLflow reports
        # Only folders. A server may keep artifacts at s3://bucket/mlflow/artifacts, which does not move.
        found = [re.fullmatch(r"((?:file:|/|\.).*)/mlflow/artifacts(/.*)?", location or "") for location in known]
        for there in {match[1] for match in found if match} - {here}:
            tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table, column in LOCATIONS:
                if table in tables:
                    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    store.execute(change, (here, len(there) + 1, len(there) + 1, f"{there}/"))
            log.info("MLflow: the local store was moved or copied from %s. Its paths now name %s", there, here)


def experiment_id(project: Project, client: MlflowClient) -> str:
    """Return the id of the experiment. It is created if it is missing, and restored if it was deleted."""
    name = experiment_name()
    found = client.get_experiment_by_name(name)
    if found is None:
        # A server chooses the place of its artifacts itself.
        database = _database(project)
        try:
            return client.create_experiment(name, artifact_location=_artifacts(project, database).as_uri() if database else None)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
        log.warning("MLflow: the experiment '%s' was deleted. It is restored, with its runs", name)
    return found.experiment_id


def writer(project: Project) -> str:
    """Return the id of this working copy, which separates its runs from those of others with equal parameters.

    ``mlflow/writer.json`` keeps the id when the folder is renamed. A copy of the folder gets a new id: the file records its inode. It
    also records host and folder, for file systems whose inodes change.
    """
    path = home(project) / "writer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    place = [platform.node(), str(path.parent)]
    with one_at_a_time(path.with_suffix(".lock"), timeout=60):
        known = read_json_or_none(path)
        if isinstance(known, dict) and known.get("id") and (known.get("inode") == path.stat().st_ino or known.get("place") == place):
            return str(known["id"])
        with atomic_file(path) as temporary:
            temporary.touch()
            record = {"id": uuid.uuid4().hex, "inode": temporary.stat().st_ino, "place": place}
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
        return record["id"]


# -- errors ----------------------------------------------------------------------------------------------------------------


def explained(project: Project, error: Exception, model: str = "") -> SrganError:
    """Translate an error of MLflow, its database or the network for the user.

    Args:
        project: whose store was called.
        error: any exception of a call to MLflow.
        model: the registered model of the call, if any.

    Returns:
        An `Unreachable` for an outage, after which the same call may work. Else an `SrganError` with the remedy. The caller raises it.
    """
    if isinstance(error, SrganError):
        return error
    text, code, store = reason(error), _code(error), reason(Exception(tracking_uri(project)))
    user = f"user '{read_mlflow_creds().username}'" if read_mlflow_creds().username else "this user"
    if code == "PERMISSION_DENIED":
        of_model = model and re.search(r"registered-models|model-versions", text)
        what, name = (f"the model '{model}'", "register.name in params.yaml") if of_model else (
            f"the experiment '{experiment_name()}'", "MLFLOW_EXPERIMENT_NAME")  # fmt: skip
        return SrganError(
            f"MLflow: {user} has no permission to change {what}. Ask its owner for EDIT (mlflow/README.md), or set {name} to another name"
        )
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return SrganError(f"MLflow: the server does not accept {user}. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    if re.search(r"\((InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken|403)\)|Unable to locate credentials", text):
        return SrganError(f"MLflow: the bucket of the artifacts denies access: {text}. {CHECK_KEYS}")
    if "Could not connect to the endpoint URL" in text or "Connection was closed" in text:
        return Unreachable(f"MLflow: the bucket of the artifacts: {text}")
    if "database schema" in text or "Can't locate revision" in text:
        return SrganError(
            f"MLflow: {store} has the schema of another version than {mlflow.__version__}. Back it up, then run: mlflow db upgrade {store}"
        )
    if "database is locked" in text:
        return Unreachable(f"MLflow: another process uses the database {store}. Try again when it has ended")
    if "sqlite3.OperationalError" in text:
        return SrganError(f"MLflow: {store}: {text}. Check the permissions of the file and the free space of the disk")
    if re.search(r"not a database|malformed|disk image", text):
        return SrganError(f"MLflow: {store} is damaged. Move it away, then make a new one: srgan sync")
    if code == "ENDPOINT_NOT_FOUND" and "API request" in text:
        return SrganError(f"MLflow: {store} is no MLflow server, or an old one. Correct MLFLOW_TRACKING_URI")
    if re.search(r"must be in (the )?'?active'? state|lifecycle_stage|in deleted state", text):
        return SrganError(f"MLflow: {text}. It was deleted on MLflow's page: restore it there, or run the command again")
    if isinstance(error, requests.RequestException) and code is None:
        return Unreachable(f"MLflow: {text}")
    if isinstance(error, ConnectionError | TimeoutError | OperationalError) or code in OUTAGES or _server_failed(error, text):
        return Unreachable(f"MLflow: {text}")
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return SrganError(f"MLflow: {f'{error.filename}: ' if error.filename else ''}{error.strerror or text}")
    if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") and re.search(r"(?i)model name|alias|maximum length", text):
        return SrganError(f"MLflow refuses: {text}. Correct register.name, register.alias or MLFLOW_EXPERIMENT_NAME")
    return SrganError(f"MLflow refuses: {text}")


def _code(error: Exception) -> str | None:
    """Return the name of MLflow's error code, or None."""
    if isinstance(error, requests.HTTPError) and error.response is not None:  # artifacts use plain HTTP
        return ErrorCode.Name(get_error_code(error.response.status_code))
    return getattr(error, "error_code", None)


def _server_failed(error: Exception, text: str) -> bool:
    """Return True if the server failed or did not answer. MLflow uses the same code for many client errors."""
    if _code(error) != "INTERNAL_ERROR":
        return False
    return isinstance(error, RestException | requests.HTTPError) or bool(
        re.search(r"API request to .* failed with (exception|timeout|error code (5\d\d|429|408))", text)
    )
