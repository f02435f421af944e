"""Who is the champion among the versions of a registered model: given by one promotion at a time, and given back."""

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
from srgan.tracking.registry import NOT_THERE, give_alias, version
from srgan.utils.errors import SrganError

CHAMPIONS_TAG = "srgan.champions"  # of the registered model: its champions in order, the present one last
LOCK_TAG = "srgan.promotion"  # of the registered model: who is at work
LOCK_SECONDS, SETTLE_SECONDS = 120.0, 1.0
KEPT = 100  # champions in the list

log = logging.getLogger(__name__)


def set_champion(project: Project, name: str, number: str, former: str | None) -> None:
    """Make a version the champion, if `former` still is (None: if there still is none).

    Raises:
        SrganError: another promotion is at work or came first, or MLflow refuses; the champion is then as that left it.
    """
    with _promotion(project, name) as client:
        now = _champion(project, name)
        if now != (str(former) if former else None):
            other = f"version {now} became the champion" if now else "the champion was taken away"
            raise SrganError(f"{name}: {other} meanwhile; nothing was changed, decide again: srgan promote")
        line = [*_line(client, name, now), str(number)]
        # The alias first: a process that is killed in between leaves no version in the list that never was champion.
        give_alias(client, name, "champion", str(number))
        _write(client, name, line)


def restore_previous(project: Project, name: str) -> tuple[str | None, str]:
    """Give the alias ``champion`` back to the last one before that still exists. Returns the versions that had and have it.

    Raises:
        SrganError: there was none before, another promotion is at work, or MLflow refuses.
    """
    with _promotion(project, name) as client:
        now = _champion(project, name)
        before = [entry for entry in _line(client, name, now) if entry != now]
        while before and not _exists(client, name, before[-1]):
            before.pop()
        if not before:
            raise SrganError(f"{name}: there is no former champion to go back to ({CHAMPIONS_TAG}: {now or 'none'})")
        # The list first: a process that is killed in between leaves no way back to the version that is rolled back.
        _write(client, name, before)
        give_alias(client, name, "champion", before[-1])
        return now, before[-1]


def adopt_alias(project: Project, name: str) -> None:
    """Adapt the list of champions to an alias ``champion`` that was moved by hand.

    Raises:
        SrganError: MLflow refuses or cannot be reached.
    """
    try:
        client = store.connect(project)
        now = _champion(project, name)
        line = _line(client, name, now)
        if line != _recorded(client, name):
            _write(client, name, line)
            log.info("%s: version %s became the champion by hand; the list of champions is now %s", name, now, ", ".join(line))
    except Exception as error:  # see tracking.try_sync
        raise store.explained(project, error, name) from error


def _champion(project: Project, name: str) -> str | None:
    found = version(project, name, "champion")
    return str(found.version) if found else None


def _recorded(client: MlflowClient, name: str) -> list[str]:
    return [entry for entry in client.get_registered_model(name).tags.get(CHAMPIONS_TAG, "").split(",") if entry]


def _line(client: MlflowClient, name: str, now: str | None) -> list[str]:
    """The champions in order, as recorded, with the present one last, however it became the champion."""
    return [entry for entry in _recorded(client, name) if entry != now] + ([now] if now else [])


def _write(client: MlflowClient, name: str, line: list[str]) -> None:
    client.set_registered_model_tag(name, CHAMPIONS_TAG, ",".join(list(dict.fromkeys(reversed(line)))[:KEPT][::-1]))


def _exists(client: MlflowClient, name: str, number: str) -> bool:
    try:
        return bool(client.get_model_version(name, number))
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return False
        raise


@contextlib.contextmanager
def _promotion(project: Project, name: str) -> Iterator[MlflowClient]:
    """Be the only one who changes the champion. MLflow has no locks: who finds his own mark after a moment has come first."""
    own = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        client = store.connect(project)
        mark = client.get_registered_model(name).tags.get(LOCK_TAG, "")
        if _is_fresh(mark):
            raise SrganError(
                f"{name}: another promotion is at work ({mark.rpartition('@')[0]}); nothing was changed, try again in two minutes"
            )
        client.set_registered_model_tag(name, LOCK_TAG, f"{own}@{time.time():.0f}")
        time.sleep(SETTLE_SECONDS)
        winner = client.get_registered_model(name).tags.get(LOCK_TAG, "").rpartition("@")[0]
        if winner != own:
            raise SrganError(f"{name}: another promotion came first ({winner}); nothing was changed, decide again: srgan promote")
        try:
            yield client
        finally:
            client.delete_registered_model_tag(name, LOCK_TAG)
    except Exception as error:  # see tracking.try_sync
        raise store.explained(project, error, name) from error


def _is_fresh(mark: str) -> bool:
    """Whether the mark is of a promotion that may be at work: not a broken one, nor one of a clock that is far from this one."""
    try:
        return abs(time.time() - float(mark.rpartition("@")[2])) < LOCK_SECONDS
    except ValueError:
        return False
