"""Code that all flows share: the lock of the working copy, run names and failed states."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import prefect
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Crashed, Failed

from pipelines.infra import workspace_lock
from srgan.config.project import Project
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable

UNREACHABLE = "Unreachable"  # the state of a task that an outage stopped


def failed_state(error: SrganError) -> State[Any]:
    """Return a failed state with the message of an error, without a traceback."""
    name = UNREACHABLE if isinstance(error, Unreachable) else "Busy" if isinstance(error, workspace_lock.Busy) else "Failed"
    return Failed(name=name, message=str(error))


def run_name(describe: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    """Return a function for ``flow_run_name`` that makes a name from the parameters of the run."""
    return lambda: without_secrets(describe(flow_run.parameters))[:200]


@contextlib.contextmanager
def exclusive(project: Project, wait: bool, results: Path | None = None) -> Iterator[logging.Logger | logging.LoggerAdapter[Any]]:
    """Reserve the working copy, or a folder of results, for this run. Yield the log of the run.

    Raises:
        Busy: another run uses it, and `wait` is false.
    """
    logger = get_run_logger()
    workspace_lock.end_with_worker()
    logging.getLogger("srgan").setLevel(logging.INFO)
    identity = flow_run.id or ""
    run = flow_run.name or "?"
    with workspace_lock.acquire(project, run, wait, logger.info, identity, report_killed, results), prefect.tags("srgan"):
        yield logger


def report_killed(identity: str) -> None:
    """Set the state of a killed run on the server. Until then it counts as running and blocks other runs."""
    with contextlib.suppress(ValueError, PrefectException, httpx.HTTPError), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(identity))
        if run.state and not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message="it was killed"), force=True)
