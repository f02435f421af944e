"""Upscaling of image folders as a Prefect flow."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from pipelines.infra import gpu_limit
from pipelines.infra.flow_run import exclusive, failed_state, run_name
from srgan.config.project import Project
from srgan.evaluation.model_card import escaped
from srgan.images.suffixes import WrittenSuffix
from srgan.utils.errors import SrganError

if TYPE_CHECKING:
    from srgan.images.write import Options
    from srgan.inference.batch import Job
    from srgan.inference.upscaler import Upscaler

CHAMPION = "models:/srgan-x4@champion"


@task(task_run_name="{title}", cache_policy=NO_CACHE)
def upscale_shard(upscaler: "Upscaler", jobs: "list[Job]", settings: "Options", overwrite: bool, title: str) -> list[str]:
    """Upscale some of the images and return the failures. A failure does not stop the others."""
    from srgan.inference import batch

    return batch.run(upscaler, jobs, settings, overwrite)


@flow(
    name="batch-upscale",
    description="Upscale a folder of images with the champion.",
    flow_run_name=run_name(lambda parameters: f"upscale {parameters.get('source')} to {parameters.get('target')}"),
)
def batch_upscale(
    source: str,
    target: str,
    model: str = CHAMPION,
    shard: Annotated[int, Field(ge=1)] = 100,
    format: WrittenSuffix | None = None,
    outscale: Annotated[float, Field(gt=0, le=64)] | None = None,
    overwrite: bool = False,
) -> State[Any]:
    """Upscale as `srgan upscale SOURCE -o TARGET` does, with a task for each shard. A stopped run continues with the missing images.

    Args:
        source: a folder (with all that is in it), a file or a pattern such as scans/**/*.tif.
        target: a folder for the results, which need not exist.
        model: models:/NAME@ALIAS of MLflow's registry, or an .onnx file.
        shard: photographs in a task.
        format: suffix of the results, such as webp; none: the photograph's own.
        outscale: size of the result / size of the photograph; none: the model's scale.
        overwrite: replace existing results.
    """
    from srgan.images.write import Options
    from srgan.inference import batch  # imports MLflow and ONNX Runtime, which takes seconds: Prefect imports this file to list the flow
    from srgan.inference.upscaler import Upscaler
    from srgan.tracking import registry

    try:
        jobs = batch.plan([source], target, f".{format}" if format else None)
        project = Project.open()
        with exclusive(project, False, Path(target)) as logger, tempfile.TemporaryDirectory() as folder, gpu_limit.gpu():
            path = registry.download(project, model, Path(folder)) if model.startswith("models:/") else Path(model)
            upscaler = Upscaler(path)
            logger.info("x%d by %s on %s: %d photographs", upscaler.scale, path.name, upscaler.provider, len(jobs))
            settings = Options(outscale)
            failures: list[str] = []
            for start in range(0, len(jobs), shard):
                some = jobs[start : start + shard]
                title = f"{start + 1} to {start + len(some)} of {len(jobs)}"
                failures += upscale_shard(upscaler, some, settings, overwrite, title)
    except SrganError as error:
        return failed_state(error)
    listed = "\n".join(f"- {escaped(failure)}" for failure in failures)
    title = f"# {len(jobs) - len(failures)} of {len(jobs)} photographs enlarged"
    page = f"{title}\n\nFrom {escaped(source)} to {escaped(target)}, by {escaped(model)}.\n\n{listed}\n"
    create_markdown_artifact(page, key="upscaled")
    if failures:
        return Failed(message=f"{len(failures)} of {len(jobs)} photographs could not be enlarged. The first: {failures[0]}")
    return Completed(message=f"{len(jobs)} photographs enlarged")
