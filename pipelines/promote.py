"""The decision about the champion as a Prefect flow."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from pipelines.infra import gpu_limit
from pipelines.infra.flow_run import exclusive, failed_state, run_name
from srgan.config import schema
from srgan.config.project import Project
from srgan.utils.errors import SrganError


def _title(parameters: dict[str, Any]) -> str:
    return " ".join(["promote", *(["(dry run)"] if parameters.get("dry_run") else []), *(["by force"] if parameters.get("force") else [])])


@flow(name="promote", description="Make the challenger the champion, if its scores allow.", flow_run_name=run_name(_title))
def promote(dry_run: bool = False, force: str = "", wait: bool = True, own: bool = False) -> State[Any]:
    """Decide by the rules of params.yaml, as `srgan promote` does. The name of the state is the decision.

    Args:
        dry_run: decide, but change nothing.
        force: a reason to promote even if a rule fails.
        wait: wait for another run in this working copy. Otherwise fail.
        own: fail if the challenger is not the model of this working copy.
    """
    from srgan.tracking import promotion  # imports MLflow and PyTorch, which takes seconds: Prefect imports this file to list the flow

    try:
        project = Project.open()
        with exclusive(project, wait), gpu_limit.gpu():
            decision = promotion.promote(project, schema.load(project.params), dry_run, force, own)
            if decision.checks:
                page = project.promotion.read_text(encoding="utf-8")
                create_markdown_artifact(page, key="promotion", description=f"{decision.verdict}: {decision.reason}"[:1000])
    except SrganError as error:
        return failed_state(error)
    message = f"version {decision.challenger} of {decision.model}: {decision.verdict}: {decision.reason}"
    message += f"; {decision.note}" if decision.note else ""
    return Completed(name=decision.verdict.capitalize() + (" (dry run)" if dry_run else ""), message=message)
