"""A hyper-parameter search as a Prefect flow."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from pipelines.infra import gpu_limit
from pipelines.infra.flow_run import exclusive, failed_state, run_name
from srgan.config.project import Project
from srgan.utils.errors import SrganError


@flow(
    name="tune",
    description="Search for better parameters.",
    flow_run_name=run_name(lambda parameters: f"tune {parameters.get('study')}"),
)
def tune(study: str, workers: Annotated[int, Field(ge=1)] = 1, wait: bool = True) -> State[Any]:
    """Run the trials of a study file as `srgan tune` does. A stopped run continues with the interrupted trial.

    Args:
        study: the study file.
        workers: trials at the same time on this machine.
        wait: wait for another run of this study. Otherwise fail.
    """
    from srgan.tuning import results, run  # imports PyTorch and MLflow, which takes seconds: Prefect imports this file to list the flow
    from srgan.tuning.study import STUDIES

    try:
        project = Project.open()
        path = project.resolve(study)
        with exclusive(project, wait, project.root / STUDIES / path.stem), gpu_limit.gpu():
            done = run.tune(path, project, workers)
    except SrganError as error:
        return failed_state(error)
    create_markdown_artifact(f"# Study {done.definition.name}\n\n```\n{results.describe(done)}\n```\n", key="study")
    return Completed(message=f"{len(done.trials())} trials: {Path(STUDIES) / done.definition.name / 'study.html'}")
