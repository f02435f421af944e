"""Artifacts of a training run in Prefect: scores, a comparison image and links."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from pipelines.infra import dvc
from srgan.config import schema
from srgan.config.project import Project
from srgan.evaluation.model_card import escaped
from srgan.metrics.registry import METRICS
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json

if TYPE_CHECKING:
    from srgan.tracking.training_record import TrainingRecord

MAX_WIDTH = 1200  # pixels of the image, which is embedded in the artifact


def training(project: Project, logger: Any) -> None:
    """Show the scores of a finished training on the page of its run. The log names what is missing."""
    if dvc.changed("evaluate", project.root):
        logger.info("no scores to show: the files are of another model until the stage evaluate has run")
        return
    from srgan.tracking import training_record  # imports MLflow, which takes seconds: Prefect imports this file to list the flow

    try:
        made = training_record.current_training(project, schema.load(project.params))
        scores = read_json(project.metrics, made_by="evaluate")
    except SrganError as error:
        logger.info("no scores to show: %s", error)
        return
    columns = [name for name in METRICS if any(values.get(name) is not None for models in scores.values() for values in models.values())]
    rows = [
        {"set": name, "model": model} | {METRICS[column].title: values[column] for column in columns}
        for name, models in scores.items()
        for model, values in models.items()
    ]
    create_table_artifact(rows, key="scores", description="Means over the test images; `gan` is what was trained.")
    if project.comparison.is_file():
        create_image_artifact(
            _embedded(project.comparison), key="before-after", description="Details of test images: baseline, pre-trained, GAN, original."
        )
    create_markdown_artifact(_page(project, made), key="training", description=f"{made.name}, {made.key}")


def _embedded(path: Path) -> str:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((MAX_WIDTH, MAX_WIDTH * 4), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _page(project: Project, made: "TrainingRecord") -> str:
    """Return the links and the origin of a training as Markdown."""
    from srgan.tracking import mlflow_run

    links = mlflow_run.addresses(made, "", f"/artifacts/{project.report.name}")
    run = "[run and curves]({}), [report]({})".format(*links) if links else "no run; `srgan sync` makes one"
    if links and links[0].startswith(mlflow_run.LOCAL_PAGES):
        run += " (the local store's: open it with `make mlflow`)"
    origin = [f"- {name}: {escaped(value)}" for name, value in mlflow_run.origin(made).items() if name != "MLflow"]
    return "\n".join([f"# {made.name}", "", f"- MLflow: {run}", f"- report on this machine: `{project.report.resolve()}`", *origin, ""])
