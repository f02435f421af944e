"""Run the deployments of ``prefect.yaml`` on this machine, without a worker: ``python -m pipelines.infra.serve``.

It uses the configured server, or the one of ``make prefect``.
"""

from typing import Any

import prefect
import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import construct_schedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint

from pipelines.infra import gpu_limit
from pipelines.infra.command import command, server
from srgan.config.project import Project


def deployments() -> list[RunnerDeployment]:
    """Return the deployments of ``prefect.yaml`` for this process."""
    listed = yaml.safe_load((Project.open().root / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [_deployment(entry) for entry in listed]


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    return load_flow_from_entrypoint(entry["entrypoint"]).to_deployment(
        name=entry["name"],
        schedules=[_schedule(**schedule) for schedule in entry.get("schedules", [])],
        parameters=entry.get("parameters"),
        tags=entry.get("tags"),
    )


def _schedule(active: bool = True, slug: str | None = None, **when: Any) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=construct_schedule(**when), active=active, slug=slug)


def main() -> None:
    """Serve until Ctrl-C."""
    with server(), command("infra.serve"):
        gpu_limit.create()
        prefect.serve(*deployments())


if __name__ == "__main__":
    main()
