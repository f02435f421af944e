"""Find a training by name: in the project, in git and DVC, in MLflow, in a file or among the starters."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from srgan.config import schema
from srgan.config.project import Project
from srgan.evaluation.history import TrainingHistory, read_history
from srgan.models.weights_file import SUFFIXES
from srgan.starters import catalogue
from srgan.tracking import mlflow_run, registry, store
from srgan.utils.errors import SrganError, reason
from srgan.utils.files import plain_name, require, sha256

WORKSPACE = "workspace"
REVISION = Project()  # paths within a revision
SECTIONS = ("data.", "prepare.", "model.", "pretrain.", "train.")  # of the parameters that are compared


@dataclass(frozen=True)
class Found:
    """A training that was found.

    Attributes:
        model: its `.onnx` file, or weights.
        history: its parameters and logged values.
        origin: the place where it was found, for people.
    """

    model: Path
    history: TrainingHistory
    origin: str


def find(project: Project, name: str, folder: Path) -> Found:
    """Find a training and download its model.

    Args:
        project: whose revisions and MLflow store are searched.
        name: ``workspace``, a starter, an `.onnx` file or weights, ``models:/NAME@ALIAS``, a git revision, a DVC experiment, or the id
            or name of an MLflow run. The outs of a revision must be in the cache or remote of DVC.
        folder: for a downloaded model.

    Raises:
        SrganError: no training has this name, or its model is missing. The message names the places that were searched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if catalogue.has(name):
        return Found(catalogue.find(name).weights, TrainingHistory({}), f"the starter {name}")
    if name.endswith((".onnx", *SUFFIXES)):
        return Found(require(name, "export"), TrainingHistory({}), f"the file {name}")
    if name.startswith("models:/"):
        return Found(registry.download(project, name, folder), TrainingHistory({}), f"MLflow, {name}")
    reasons = []
    for search in (_in_dvc, _in_mlflow):
        try:
            return search(project, name, folder)
        except LookupError as error:
            reasons.append(str(error))
    raise SrganError(f"'{name}': {'; '.join(reasons)}")


def _in_dvc(project: Project, name: str, folder: Path) -> Found:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        files = DVCFileSystem(str(project.root.resolve()), rev=None if name == WORKSPACE else name)
        files.repo  # noqa: B018 (opens it, so that a wrong revision is an error here)
    except (DvcException, SCMError, OSError) as error:
        raise LookupError(f"no revision or experiment of git and DVC ({reason(error)})") from error
    try:
        exported = json.loads(files.read_text(REVISION.export_record.as_posix()))
        file = plain_name(exported["file"], f"revision '{name}': {REVISION.export_record}: file", ".onnx")
        model = folder / file
        files.get_file(f"models/{file}", str(model))
        if exported.get("sha256") not in (None, sha256(model)):
            raise SrganError(f"revision '{name}': models/{file} is damaged or replaced: its digest differs from {REVISION.export_record}")
        options = schema.settings(yaml.safe_load(files.read_text("params.yaml")))
        kept = {key: value for key, value in options.items() if key.startswith(SECTIONS)}
        history = read_history(kept, REVISION.losses, lambda path: pd.read_csv(io.StringIO(files.read_text(path.as_posix()))))
    except (DvcException, OSError, KeyError, TypeError, ValueError) as error:
        raise SrganError(
            f"revision '{name}': its results are missing ({reason(error)}). Download them with: dvc fetch --all-commits, "
            "or train with: dvc repro"
        ) from error
    return Found(model, history, "this folder" if name == WORKSPACE else f"git and DVC, {name}")


def _in_mlflow(project: Project, name: str, folder: Path) -> Found:
    try:
        run_id, history = mlflow_run.history_of_server(project, name)
    except LookupError:
        raise
    except Exception as error:  # see `mlflow_run.try_sync`
        raise LookupError(str(store.explained(project, error))) from error
    return Found(registry.download(project, registry.model_of_run(project, run_id), folder), history, f"MLflow, run {run_id}")
