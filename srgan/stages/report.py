"""Stage `report`: the page of scores and comparison images, ``reports/report.html``."""

import logging

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import read_manifest, recipe_of
from srgan.evaluation.evaluate import read_table
from srgan.evaluation.history import read_history, write_loss_tables
from srgan.evaluation.report import write_report
from srgan.export.onnx import exported_models
from srgan.inference import benchmark
from srgan.models.weights_file import read_metadata
from srgan.tasks import task_of_manifest
from srgan.tracking import mlflow_run
from srgan.tracking.training_record import current_training
from srgan.training import lineage
from srgan.utils.files import atomic_folder, read_json, require, write_json

log = logging.getLogger(__name__)


def run(project: Project, params: Params) -> None:
    """Write the report page, and measure time and memory of the exported models.

    Args:
        project: the files.
        params: the whole configuration.
    """
    manifest = read_manifest(project.prepared)
    training = current_training(project, params)
    costs = [benchmark.measure(path) for path in exported_models(project, params, training.scale).values()]
    origin = mlflow_run.origin(training) | {
        "scored on": manifest["test_sha256"][:16],
        "LR images" if training.scale > 1 else "inputs": recipe_of(manifest),
    }
    metadata = read_metadata(project.generator, made_by="train")
    if starts := lineage.starts(metadata):
        origin |= {"start": "; ".join(starts)}
    if continued := lineage.sentences(metadata):
        origin |= {"continued": "; ".join(continued)}
    if lineage.LOSS_WEIGHTS in metadata:
        origin |= {"weights of the losses": metadata[lineage.LOSS_WEIGHTS]}
    history = read_history(training.params, project.losses)
    with atomic_folder(project.loss_tables) as folder:
        write_loss_tables(folder, history)
    write_report(
        project.report,
        f"{training.name}: {task_of_manifest(manifest).heading(training.scale)}",
        "gan",
        read_table(require(project.scores, "evaluate")),
        read_json(project.statistics, made_by="evaluate"),
        project.pictures,
        {"this run": history},
        manifest,
        origin,
        costs,
    )
    write_json(project.costs, training.page_identity | {"files": costs})  # after the page, whose identity it records
    log.info("Report: %s", project.report)
    mlflow_run.try_sync(current_training(project, params), "FINISHED")  # read again: the record now has the page and the costs
