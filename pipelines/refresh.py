"""The whole loop as a Prefect flow: new data in, a better champion out."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from pipelines.infra import dvc, workspace_lock
from pipelines.infra.flow_run import exclusive, failed_state, run_name
from pipelines.promote import promote
from pipelines.train import run_stage, train
from srgan.config.project import Project
from srgan.utils.errors import SrganError


@flow(
    name="refresh",
    description="Download the data sets again, train if they or the images of the service changed, and promote a better model.",
    flow_run_name=run_name(lambda parameters: f"refresh {parameters.get('profile') or ''}".strip()),
)
def refresh(
    profile: str | None = None,
    overrides: dict[str, Any] | None = None,
    push_to: str | None = None,
    wait: bool = True,
    monitor: str = "monitor",
) -> State[Any]:
    """Fetch and verify the data sets again (their folders and archives may hold more than last time), `train`, `promote`.

    While the images of a service differ from those of the training, ``prepare.recipe`` gets a recipe that imitates them.
    Where data, parameters and the images of the service are what they were, nothing is trained.

    Args:
        profile: as for `train`.
        overrides: as for `train`.
        push_to: as for `train`.
        wait: wait for another run in this working copy. Otherwise fail.
        monitor: folder that `srgan serve --monitor` writes. It need not exist.
    """
    from srgan.monitoring import answer  # takes seconds: Prefect imports this file to list the flow

    try:
        project = Project.open()
        root = project.root
        with exclusive(project, wait) as logger:
            if push_to:
                dvc.remote(push_to, root)
            if profile or overrides:
                workspace_lock.set_params(project, profile, overrides or {})
            before = dvc.recorded("data/raw", root)
            look = run_stage.with_options(name="check the data", task_run_name="check the data")
            checked = look("download", root, force=True, return_state=True)
            if not checked.is_completed():
                return Failed(message=f"{checked.message}. The champion stays, and the next run looks again")
            changed = dvc.recorded("data/raw", root) != before
            logger.info("the data sets %s", "have changed" if changed else "are what they were")
            drift = answer.reason(project.resolve(monitor), project.prepared)
            if drift:
                logger.info("%s: prepare.recipe imitates them now", drift.sentence)
                workspace_lock.set_params(project, None, {"prepare.recipe": drift.recipe})
            trained = train(push_to=push_to, return_state=True)
            if not trained.is_completed():
                return Failed(message=f"{trained.message}. The champion stays")
            decided = promote(own=True, return_state=True)
            if not decided.is_completed():
                return Failed(message=f"trained, but not decided: {decided.message}")
    except SrganError as error:
        return failed_state(error)
    news = f"data {'changed' if changed else 'unchanged'}{'; drift' if drift else ''}"
    return Completed(name=decided.name, message=f"{news}; {trained.message}; {decided.message}")
