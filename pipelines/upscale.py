"""Upscaling, restoration or colorization of image folders as a Prefect flow."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from pipelines.infra import gpu_limit
from pipelines.infra.flow_run import exclusive, failed_state, run_name
from srgan.config import schema
from srgan.config.project import Project, registered_name
from srgan.evaluation.model_card import escaped
from srgan.images.suffixes import WrittenSuffix
from srgan.tasks import task_of
from srgan.utils.errors import SrganError
from srgan.utils.file_systems import is_address
from srgan.utils.optional import require_ray

if TYPE_CHECKING:
    from srgan.images.write import Options
    from srgan.inference.batch import Job
    from srgan.inference.upscaler import Upscaler


@task(task_run_name="{title}", cache_policy=NO_CACHE)
def upscale_shard(upscaler: "Upscaler", jobs: "list[Job]", settings: "Options", overwrite: bool, title: str) -> list[str]:
    """Process some of the images and return the failures. A failure does not stop the others."""
    from srgan.inference import batch

    return batch.run(upscaler, jobs, settings, overwrite)


@task(task_run_name="{title}", cache_policy=NO_CACHE)
def upscale_addresses(upscaler: "Upscaler", jobs: dict[str, str], target: str, settings: "Options", title: str) -> list[str]:
    """Process some of the images at addresses and return the failures. A failure does not stop the others."""
    from srgan.inference import remote

    return remote.run(upscaler, jobs, target, settings, overwrite=True)


@task(task_run_name="{title}", cache_policy=NO_CACHE)
def upscale_by_ray(model: Path, jobs: dict[str, str], target: str, settings: "Options", overwrite: bool, title: str) -> list[str]:
    """Process all images with the actors of Ray and return the failures. Ray repeats what a lost actor had begun."""
    from srgan.inference import ray_batch
    from srgan.inference.settings import Settings

    return ray_batch.run(model, Settings(options=settings), jobs, target, overwrite)


@flow(
    name="batch-upscale",
    description="Upscale, restore or colorize a folder of images with the champion.",
    flow_run_name=run_name(lambda parameters: f"upscale {parameters.get('source')} to {parameters.get('target')}"),
)
def batch_upscale(
    source: str,
    target: str,
    model: str | None = None,
    shard: Annotated[int, Field(ge=1)] = 100,
    format: WrittenSuffix | None = None,
    outscale: Annotated[float, Field(gt=0, le=64)] | None = None,
    overwrite: bool = False,
    engine: Literal["local", "ray"] = "local",
) -> State[Any]:
    """Upscale as `srgan upscale SOURCE -o TARGET` does, with a task for each shard. A stopped run continues with the missing images.

    Args:
        source: a folder (with all that is in it), a file or a pattern such as scans/**/*.tif, or an address such as s3://bucket/photos.
        target: a folder for the results, which need not exist, or its address.
        model: models:/NAME@ALIAS of MLflow's registry, an .onnx file, weights or a starter; none: the champion of params.yaml.
        shard: images in a task.
        format: suffix of the results, such as webp; none: the image's own.
        outscale: size of the result / size of the image; none: the model's scale.
        overwrite: replace existing results.
        engine: ray uses all cores or GPUs of this machine, or of the cluster in RAY_ADDRESS.
    """
    # These import MLflow and ONNX Runtime, which takes seconds. Prefect imports this file to list the flow.
    from srgan.images.write import Options
    from srgan.inference import batch, remote
    from srgan.inference.upscaler import Upscaler
    from srgan.tracking import registry

    try:
        ending = f".{format}" if format else None
        if engine == "ray":
            require_ray()
        at_addresses = any(map(is_address, (source, target)))
        jobs = remote.plan([source], target, ending) if engine == "ray" or at_addresses else batch.plan([source], target, ending)
        project = Project.open()
        model = model or _champion(project)
        with (
            exclusive(project, False, None if is_address(target) else Path(target)) as logger,
            tempfile.TemporaryDirectory() as folder,
            gpu_limit.gpu(),
        ):
            path = registry.download(project, model, Path(folder)) if model.startswith("models:/") else Path(model)
            upscaler = Upscaler(path)
            task = task_of(upscaler.scale, upscaler.adds_colour)
            logger.info("%s by %s on %s: %d images", task.short(upscaler.scale), path.name, upscaler.provider, len(jobs))
            settings = Options(outscale)
            failures: list[str] = []
            if engine == "ray":
                del upscaler  # each actor has its own
                failures = upscale_by_ray(path, jobs, target, settings, overwrite, f"{len(jobs)} images")
            elif isinstance(jobs, dict):
                todo = jobs if overwrite else remote.missing(jobs, target)
                for some, title in _shards(list(todo.items()), shard):
                    failures += upscale_addresses(upscaler, dict(some), target, settings, title)
            else:
                for some, title in _shards(jobs, shard):
                    failures += upscale_shard(upscaler, some, settings, overwrite, title)
    except SrganError as error:
        return failed_state(error)
    listed = "\n".join(f"- {escaped(failure)}" for failure in failures)
    title = f"# {len(jobs) - len(failures)} of {len(jobs)} images {task.done}"
    page = f"{title}\n\nFrom {escaped(source)} to {escaped(target)}, by {escaped(model)}.\n\n{listed}\n"
    create_markdown_artifact(page, key="upscaled")
    if failures:
        return Failed(message=f"{len(failures)} of {len(jobs)} images failed. The first: {failures[0]}")
    return Completed(message=f"{len(jobs)} images {task.done}")


def _shards(jobs: list[Any], size: int) -> Iterator[tuple[list[Any], str]]:
    """Yield some of the jobs at a time, with the title of their task."""
    for start in range(0, len(jobs), size):
        some = jobs[start : start + size]
        yield some, f"{start + 1} to {start + len(some)} of {len(jobs)}"


def _champion(project: Project) -> str:
    params = schema.load(project.params)
    return f"models:/{registered_name(params, params.prepare.scale)}@champion"
