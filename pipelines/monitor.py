"""A look at the service as a Prefect flow: the page of the day, and drift."""

import datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from pipelines.infra.flow_run import exclusive, failed_state, run_name
from srgan.config.project import Project
from srgan.utils.errors import SrganError


@flow(
    name="monitor",
    description="Sum up the last day of a service and look for drift.",
    flow_run_name=run_name(lambda parameters: f"monitor {parameters.get('folder')}"),
)
def monitor(folder: str = "monitor", days_ago: int = 0) -> State[Any]:
    """Write the page and the MLflow run of a day, as `srgan monitor` does. The name of the state is `Drift` if an alarm lasts.

    Args:
        folder: that `srgan serve --monitor` writes.
        days_ago: the day. 0 is today.
    """
    from srgan.monitoring import answer, reference, report  # takes seconds: Prefect imports this file to list the flow
    from srgan.monitoring import log as logs

    try:
        project = Project.open()
        path = project.resolve(folder)
        if not logs.exists(path):
            return Completed(name="Nothing to do", message=f"{path}: no log of a service. Write one with: srgan serve --monitor {folder}")
        with exclusive(project, True, path):
            known = reference.update(path, project.prepared)
            day = datetime.date.today() - datetime.timedelta(days_ago)
            found = report.report(path, day, known, project)
            create_markdown_artifact(report.text(found), key="monitor")
            reason = answer.reason(path, project.prepared)
    except report.NoRequests as error:
        return Completed(name="Nothing to do", message=str(error))
    except SrganError as error:
        return failed_state(error)
    if reason:
        return Completed(name="Drift", message=f"{reason.sentence}. The flow refresh trains with a recipe that imitates them")
    return Completed(message=f"{found['values']['requests']} results on {day}, no drift")
