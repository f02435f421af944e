"""The parent of a fine-tuned model in MLflow: tags of its run and of its registered version."""

import re

from srgan.config.project import Project
from srgan.config.training import REGISTERED
from srgan.tracking import mlflow_run, registered_weights, store
from srgan.tracking.training_record import TrainingRecord

PARENT_TAG = "srgan.parent"  # address, starter or file
PARENT_SHA256_TAG = "srgan.parent_sha256"  # of its weights
PARENT_RUN_TAG = "srgan.parent_run"  # id of the run that trained a registered parent


def tags(project: Project, address: str, shown: str, sha256: str) -> dict[str, str]:
    """Return the tags of a model that started from other weights.

    Args:
        project: whose MLflow store has a registered parent.
        address: of the weights, as in ``pretrain.pretrained``.
        shown: the same without folders of this machine.
        sha256: of the weights.

    Raises:
        SrganError: MLflow does not know a registered parent.
        Unreachable: MLflow does not answer.
    """
    found = {PARENT_TAG: shown, PARENT_SHA256_TAG: sha256}
    if REGISTERED.fullmatch(address):
        version = registered_weights.find_version(project, address)
        found |= {PARENT_TAG: f"models:/{version.name}/{version.version}", PARENT_RUN_TAG: str(version.run_id)}
    return found


def tag_run(training: TrainingRecord, about: dict[str, str]) -> None:
    """Set tags of the run of a training. A failure is a warning only, as in `mlflow_run.try_sync`."""
    try:
        client = store.connect(training.project)
        run = mlflow_run.find_run(client, training).info.run_id
        for key, value in about.items():
            client.set_tag(run, key, re.sub(r"\s+", " ", value)[:4900])
    except Exception as error:
        mlflow_run.log.warning("%s. The run does not name its parent", store.explained(training.project, error))
