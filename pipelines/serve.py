"""Run the deployments of ``prefect.yaml`` on this machine, without a worker: ``python -m pipelines.serve``.

It needs a server: that of ``PREFECT_API_URL``, or one started beside it with ``prefect server start``.
"""

import sys
from typing import Any

import httpx
import prefect
import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import construct_schedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipelines import limits, workspace
from srgan.errors import SrganError

LOCAL = "http://127.0.0.1:4200/api"


def deployments() -> list[RunnerDeployment]:
    """What ``prefect.yaml`` says, as this process can run it."""
    listed = yaml.safe_load((workspace.project() / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
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
    with temporary_settings(set_defaults={PREFECT_API_URL: LOCAL}):  # a temporary server would take the schedules with it
        try:
            found = deployments()
            limits.create()
        except SrganError as error:
            sys.exit(f"pipelines.serve: error: {error}")
        except (RuntimeError, httpx.HTTPError):
            sys.exit(f"pipelines.serve: error: no server answers at {PREFECT_API_URL.value()}; start one with: prefect server start")
        prefect.serve(*found)


if __name__ == "__main__":
    main()
