"""Command `sync`: MLflow brought up to date with the files of the project."""

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.stages import register
from srgan.tracking import mlflow_run, store
from srgan.tracking.training_record import current_training
from srgan.utils.files import read_json_or_none


def run(project: Project, params: Params) -> None:
    """Send to MLflow what an outage left out, or what the DVC cache restored.

    Args:
        project: the files.
        params: the whole configuration.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    training = current_training(project, params)
    try:
        mlflow_run.sync(training, "FINISHED")
    except Exception as error:  # MLflow, its database and the network share no base class
        why = store.explained(project, error)
        raise type(why)(f"{why}. The files are safe, run again: srgan sync") from error
    registered = read_json_or_none(project.registration)
    if isinstance(registered, dict) and registered.get("key") == training.key:  # else the scores are of another training
        register.run(project, params)
