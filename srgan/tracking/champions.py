"""The champion of a registered model. One promotion at a time changes the alias and the list of champions."""

import contextlib
import logging
import os
import platform
import time
import uuid
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.tracking import store
from srgan.tracking.registry import set_alias, version
from srgan.utils.errors import SrganError

CHAMPIONS_TAG = "srgan.champions"  # of the registered model: its champions in order, the current one last
LOCK_TAG = "srgan.promotion"  # of the registered model: the promotion that runs
LOCK_SECONDS, SETTLE_SECONDS = 120.0, 1.0
MAX_CHAMPIONS = 100  # in the list

log = logging.getLogger(__name__)


def set_champion(project: Project, name: str, number: str, former: str | None) -> None:
    """Make a version the champion.

    Args:
        project: whose MLflow store has the model.
        name: of the registered model.
        number: the version.
        former: the version that is expected to be the champion now, or None.

    Raises:
        SrganError: another promotion runs or changed the champion, or MLflow refuses. Nothing was changed.
        Unreachable: MLflow does not answer.
    """
    with _promotion(project, name) as client:
        now = _champion(project, name)
        if now != (str(former) if former else None):
            other = f"version {now} became the champion" if now else "the champion lost its alias"
            raise SrganError(f"{name}: {other} in the meantime. Nothing was changed, decide again: srgan promote")
        champions = [*_champions(client, name, now), str(number)]
        # The alias comes first. Else a killed process would leave a version in the list that was never champion.
        set_alias(client, name, "champion", str(number))
        _write(client, name, champions)


def restore_previous(project: Project, name: str) -> tuple[str | None, str]:
    """Make the previous champion the champion again. Versions that were deleted are skipped.

    Returns:
        The version that was the champion, or None, and the version that is the champion now.

    Raises:
        SrganError: there is no previous champion, another promotion runs, or MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    with _promotion(project, name) as client:
        now = _champion(project, name)
        before = [entry for entry in _champions(client, name, now) if entry != now]
        while before and not _exists(client, name, before[-1]):
            before.pop()
        if not before:
            raise SrganError(f"{name}: there is no previous champion ({CHAMPIONS_TAG}: {now or 'none'})")
        # The list comes first. Else a killed process would leave the rolled-back version as a previous champion.
        _write(client, name, before)
        set_alias(client, name, "champion", before[-1])
        return now, before[-1]


def adopt_alias(project: Project, name: str) -> None:
    """Add a champion to the list whose alias was set by hand.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        client = store.connect(project)
        now = _champion(project, name)
        champions = _champions(client, name, now)
        if champions != _recorded(client, name):
            _write(client, name, champions)
            log.info("%s: version %s became the champion by hand. The list of champions is now %s", name, now, ", ".join(champions))
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error, name) from error


def _champion(project: Project, name: str) -> str | None:
    found = version(project, name, "champion")
    return str(found.version) if found else None


def _recorded(client: MlflowClient, name: str) -> list[str]:
    return [entry for entry in client.get_registered_model(name).tags.get(CHAMPIONS_TAG, "").split(",") if entry]


def _champions(client: MlflowClient, name: str, now: str | None) -> list[str]:
    """Return the recorded champions in order. The current one is the last, also if its alias was set by hand."""
    return [entry for entry in _recorded(client, name) if entry != now] + ([now] if now else [])


def _write(client: MlflowClient, name: str, champions: list[str]) -> None:
    client.set_registered_model_tag(name, CHAMPIONS_TAG, ",".join(list(dict.fromkeys(reversed(champions)))[:MAX_CHAMPIONS][::-1]))


def _exists(client: MlflowClient, name: str, number: str) -> bool:
    try:
        return bool(client.get_model_version(name, number))
    except MlflowException as error:
        if error.error_code in store.NOT_FOUND:
            return False
        raise


@contextlib.contextmanager
def _promotion(project: Project, name: str) -> Iterator[MlflowClient]:
    """Hold the right to change the champion. MLflow has no locks: the promotion that finds its own mark after a moment has won."""
    own = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        client = store.connect(project)
        mark = client.get_registered_model(name).tags.get(LOCK_TAG, "")
        if _is_fresh(mark):
            raise SrganError(f"{name}: another promotion runs ({mark.rpartition('@')[0]}). Nothing was changed, try again in two minutes")
        client.set_registered_model_tag(name, LOCK_TAG, f"{own}@{time.time():.0f}")
        time.sleep(SETTLE_SECONDS)
        winner = client.get_registered_model(name).tags.get(LOCK_TAG, "").rpartition("@")[0]
        if winner != own:
            raise SrganError(f"{name}: another promotion was faster ({winner}). Nothing was changed, decide again: srgan promote")
        try:
            yield client
        finally:
            client.delete_registered_model_tag(name, LOCK_TAG)
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error, name) from error


def _is_fresh(mark: str) -> bool:
    """Return True if the mark may belong to a running promotion. A broken mark does not, nor one from a clock far from this one."""
    try:
        return abs(time.time() - float(mark.rpartition("@")[2])) < LOCK_SECONDS
    except ValueError:
        return False
