"""The training pipeline as a Prefect flow: ``python -m pipelines.train``.

Without a configured server Prefect starts a temporary one; with ``PREFECT_API_URL`` set, the run shows there.
"""

import contextlib
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    temporary_settings,
)
from prefect.states import Completed, Failed

from pipelines.infra import artifacts, dvc, gpu_limit, workspace_lock
from pipelines.infra.command import command
from pipelines.infra.flow_run import UNREACHABLE, exclusive, failed_state, run_name
from srgan.config.project import Project
from srgan.utils.errors import SrganError

LIGHT = ("download", "prepare", "register")  # stages that leave the GPU alone
RULES: Any = {
    "cache_policy": NO_CACHE,  # what has changed, DVC knows
    "retries": 3,
    "retry_delay_seconds": 60,
    "retry_condition_fn": lambda _task, _run, state: state.name == UNREACHABLE,
}


@task(**RULES)
def run_stage(stage: str, root: Path, force: bool = False) -> State[Any]:
    """One DVC stage. Its state is `Cached` when there was nothing to do."""
    logger = get_run_logger()
    try:
        ran = force or dvc.changed(stage, root)
        if ran:
            with contextlib.nullcontext() if stage in LIGHT else gpu_limit.gpu():
                ran = dvc.reproduce(stage, root, logger.info, force)
    except SrganError as error:
        return failed_state(error)
    return Completed(name="Completed" if ran else "Cached", message=f"{stage}: {'ran' if ran else 'up to date'}")


@task(**RULES)
def push(remote: str, root: Path) -> State[Any]:
    """Send what the stages made to a DVC remote."""
    try:
        dvc.push(remote, root, get_run_logger().info)
    except SrganError as error:
        return failed_state(error)
    return Completed(message=f"pushed to {remote}")


def _title(parameters: dict[str, Any]) -> str:
    changes = [f"{name}={value}" for name, value in (parameters.get("overrides") or {}).items()]
    ends = [f"{end} {parameters[key]}" for key, end in (("first", "from"), ("last", "to")) if parameters.get(key)]
    return " ".join(["train", parameters.get("profile") or "", *changes, *ends]).replace("  ", " ").strip()


@flow(name="train", description="The DVC stages of the project, one task each.", flow_run_name=run_name(_title))
def train(
    profile: str | None = None,
    overrides: dict[str, Any] | None = None,
    first: str | None = None,
    last: str | None = None,
    push_to: str | None = None,
    wait: bool = True,
) -> State[Any]:
    """Bring the stages up to date, in the order of DVC's own graph.

    Args:
        profile: parameters to begin with, such as srgan-div2k; none: params.yaml as it is. They are written to params.yaml and stay there.
        overrides: parameters to change, such as {"train.steps": 1000}.
        first: the stage to start with. Earlier stages are not checked.
        last: the stage to end with.
        push_to: DVC remote that the results go to.
        wait: wait for another run in this working copy. Otherwise fail.
    """
    try:
        project = Project.open()
        with exclusive(project, wait) as logger:
            return _train(project, logger, profile, overrides or {}, first, last, push_to)
    except SrganError as error:
        return failed_state(error)


def _train(
    project: Project, logger: Any, profile: str | None, overrides: dict[str, Any], first: str | None, last: str | None, push_to: str | None
) -> State[Any]:
    root = project.root
    if push_to:
        dvc.remote(push_to, root)
    dvc.part(dvc.graph(root), first, last)  # wrong names show before anything is written
    if profile or overrides:
        workspace_lock.set_params(project, profile, overrides)
    states: dict[str, State[Any]] = {}
    for stage, before in dvc.part(dvc.graph(root), first, last).items():
        run = run_stage.with_options(name=stage, task_run_name=stage)
        states[stage] = run(stage, root, return_state=True, wait_for=[states[name] for name in before])
        if not states[stage].is_completed():
            return Failed(message=f"{states[stage].message}. The stages before it are kept, run the flow again to go on")
    artifacts.training(project, logger)
    if push_to:
        sent = push(push_to, root, return_state=True)
        if not sent.is_completed():
            return Failed(message=f"{sent.message}. The results are here, send them with: dvc push --remote {push_to}")
    ran = [stage for stage, state in states.items() if state.name != "Cached"]
    return Completed(message=f"ran: {', '.join(ran) or 'nothing'}")


def main() -> None:
    """Run the flow here and now, on the project in the current folder."""
    # Prefect ends the flow, then obeys SIGTERM as it finds it. By default that skips Python's clean-up, and with it the end of
    # the temporary server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with temporary_settings(_of_temporary_server()), command("train"):
        Project.open()
        if PREFECT_API_URL.value():
            gpu_limit.create()
        state = train(return_state=True)
    sys.exit(0 if state.is_completed() else 1)


def _of_temporary_server() -> dict[Any, str]:
    """It shares its database with that of `make prefect`, and asks for a password like that."""
    if PREFECT_API_URL.value():
        return {}
    secret = secrets.token_urlsafe(24)
    return {PREFECT_SERVER_API_AUTH_STRING: secret, PREFECT_API_AUTH_STRING: secret, PREFECT_SERVER_CORS_ALLOWED_ORIGINS: "null"}


if __name__ == "__main__":
    main()
