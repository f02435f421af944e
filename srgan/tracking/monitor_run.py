"""A day of a service as an MLflow run."""

import time
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Metric

from srgan.config.project import Project
from srgan.tracking import store
from srgan.tracking.preference import has_store as has_store

DAY_TAG = "srgan.monitor"


def record(project: Project, name: str, day: str, values: Mapping[str, float], page: Path) -> str:
    """Log the values and the page of a day. A second call updates the run.

    Args:
        project: whose MLflow store is used.
        name: of the service.
        day: such as ``2026-11-28``.
        values: metrics.
        page: an artifact.

    Returns:
        The id of the run.

    Raises:
        SrganError: MLflow refuses.
        Unreachable: MLflow does not answer.
    """
    try:
        client = store.connect(project)
        experiment, tag = store.experiment_id(project, client), f"{store.writer(project)}:{name}:{day}"
        found = client.search_runs([experiment], f"tags.`{DAY_TAG}` = '{tag}'", max_results=1)
        run = found[0] if found else client.create_run(experiment, run_name=f"{name} {day}", tags={DAY_TAG: tag})
        now = int(time.time() * 1000)
        client.log_batch(run.info.run_id, metrics=[Metric(f"monitor/{key}", float(value), now, 0) for key, value in values.items()])
        client.log_artifact(run.info.run_id, str(page))
        client.set_terminated(run.info.run_id, "FINISHED")
    except Exception as error:  # see `mlflow_run.try_sync`
        raise store.explained(project, error) from error
    return run.info.run_id
