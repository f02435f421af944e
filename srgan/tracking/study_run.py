"""The MLflow run of a study, the parent of the runs of its trials."""

from pathlib import Path

from mlflow.entities import Metric, Param, RunTag

from srgan.config.project import Project
from srgan.tracking import mlflow_run, store
from srgan.tracking.training_record import TrainingRecord

PARENT_TAG = "mlflow.parentRunId"  # by it MLflow's pages nest runs
STUDY_TAG = "srgan.study"


def open_run(project: Project, name: str, identity: str, params: dict[str, str]) -> tuple[str, str]:
    """Return the address of the store and the id of the run of a study. A missing run is created.

    Args:
        project: whose store is used.
        name: of the study.
        identity: digest of the study.
        params: for a new run.

    Raises:
        SrganError: the store is unreachable or refuses.
    """
    try:
        client = store.connect(project)
        experiment = store.experiment_id(project, client)
        tag = f"{store.writer(project)}:{identity}"
        found = client.search_runs([experiment], f"tags.`{STUDY_TAG}` = '{tag}'", max_results=1)
        if found:
            return store.tracking_uri(project), found[0].info.run_id
        run = client.create_run(experiment, run_name=f"study {name}", tags={STUDY_TAG: tag}).info.run_id
        client.log_batch(run, params=[Param(key, value[:6000]) for key, value in params.items()])
    except Exception as error:  # MLflow, its database and the network share no base class
        raise store.explained(project, error) from error
    return store.tracking_uri(project), run


def attach(training: TrainingRecord, parent: str) -> None:
    """Make the run of a trial a child of the study's run. A failure is a warning only, as in `mlflow_run.try_sync`."""
    try:
        client = store.connect(training.project)
        client.set_tag(mlflow_run.find_run(client, training).info.run_id, PARENT_TAG, parent)
    except Exception as error:
        mlflow_run.log.warning("%s. The run of this trial is not shown below that of the study", store.explained(training.project, error))


def finish(project: Project, run: str, values: dict[str, float], page: Path) -> None:
    """Send the result and the page of a study. A failure is a warning only.

    Args:
        project: whose store is used.
        run: id of the study's run.
        values: metrics.
        page: ``study.html``.
    """
    try:
        client = store.connect(project)
        client.log_batch(run, metrics=[Metric(name, value, 0, 0) for name, value in values.items()], tags=[RunTag("srgan.page", page.name)])
        client.log_artifact(run, str(page))
        client.set_terminated(run, "FINISHED")
    except Exception as error:
        mlflow_run.log.warning("%s. The page is %s", store.explained(project, error), page)
