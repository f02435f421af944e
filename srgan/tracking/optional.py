"""MLflow where it is installed. A training runs without it."""

import logging
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import ModuleType

from srgan.tracking.training_record import TrainingRecord
from srgan.utils.errors import SrganError

log = logging.getLogger(__name__)


def load(name: str) -> ModuleType:
    """Import a module of `srgan.tracking` that needs MLflow.

    Raises:
        ImportError: MLflow or a package that it needs is not installed.
    """
    return import_module(f"srgan.tracking.{name}")


def live(training: TrainingRecord, stage: str) -> AbstractContextManager[None]:
    """Send the values of a training stage to MLflow within the block. Without MLflow a warning names the way to send them later."""
    try:
        mlflow_run = load("mlflow_run")
    except ImportError as error:
        log.warning(
            "MLflow is not installed (%s), so this training is not recorded there. To record it later: pip install mlflow, then srgan sync",
            error,
        )
        return nullcontext()
    return mlflow_run.live(training, stage)


def registered_weights() -> ModuleType:
    """Return `srgan.tracking.registered_weights`.

    Raises:
        SrganError: MLflow is not installed.
    """
    try:
        return load("registered_weights")
    except ImportError as error:
        raise SrganError(f"pretrain.pretrained: models:/... needs MLflow ({error}). Install it with: pip install mlflow") from error
