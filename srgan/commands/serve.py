"""`srgan serve`."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srgan.inference.providers import Provider

if TYPE_CHECKING:
    from srgan.service.model import Identity

EPILOG = """\
\b
Examples:
  srgan serve
  srgan serve --model models:/srgan-x4@champion
  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/upscale?format=png' -o big.png
"""

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command(epilog=EPILOG)
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            parser=str,
            metavar="MODEL",
            help="A starter, an .onnx file, weights (.safetensors, .pth) or models:/NAME@ALIAS of MLflow's registry. "
            "Default: the model of `srgan upscale`.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on. 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on. 0 chooses a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="FILE", help="Holds the token that clients must send. Default: SRGAN_SERVICE_TOKEN, or none."),
    ] = None,
    provider: Annotated[Provider, typer.Option(help="What runs the model. `auto` is CUDA where it works, else the CPU.")] = "auto",
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Images that are upscaled at once, besides one job.")] = 2,
    queue: Annotated[int, typer.Option(min=0, max=10000, help="Requests that wait. Further ones get status 429.")] = 16,
    jobs: Annotated[int, typer.Option(min=1, max=10000, help="Jobs that wait, run or keep a result.")] = 32,
    megapixels: Annotated[float, typer.Option(min=0.001, help="Largest image of a request.")] = 16,
    job_megapixels: Annotated[float, typer.Option(min=0.001, help="Largest image of a job.")] = 100,
    megabytes: Annotated[float, typer.Option(min=0.001, help="Largest file.")] = 100,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time of a request. A job may take an hour.")] = 60,
    reload_seconds: Annotated[
        float, typer.Option(min=0.1, help="Time between two looks at the file or the alias, whose new model is then used.")
    ] = 60,
) -> None:
    """Serve a model: images by HTTP."""
    from srgan.inference.upscaler import Upscaler
    from srgan.service.app import create_app
    from srgan.service.auth import VARIABLE, read_token
    from srgan.service.limits import Limits
    from srgan.service.model import ServedModel
    from srgan.service.server import is_local, serve
    from srgan.service.service import Service
    from srgan.tasks import task_of

    token = read_token(token_file)
    if not token and not is_local(host):
        log.warning("%s: every program that reaches this address may use the service. Set a token: --token-file or %s", host, VARIABLE)
    limits = Limits(round(megapixels * 1e6), round(job_megapixels * 1e6), round(megabytes * 1e6), seconds, concurrency, queue, jobs)
    with tempfile.TemporaryDirectory() as folder:
        source, identify = _source(model, Path(folder))
        served = ServedModel(Upscaler(source, provider), identify)
        upscaler = served.current.upscaler
        task = task_of(upscaler.scale, upscaler.adds_colour)
        log.info("%s by %s on %s", task.short(upscaler.scale), served.current.identity, upscaler.provider)
        serve(create_app(Service(served, limits, reload_seconds), token), host, port, limits)


def _source(model: str | None, folder: Path) -> tuple[Callable[[], Path], "Callable[[Path], Identity]"]:
    """Return a function that returns the current file of the model, and one that names it. A version is downloaded into a folder."""
    from srgan.config.project import Project
    from srgan.service.model import Identity

    project = Project()
    if not (model and model.startswith("models:/")):
        from srgan.starters import catalogue, default

        return (lambda: catalogue.resolve(model) if model else default.default_model(project)), lambda path: Identity(path.name)
    from srgan.tracking import registry

    if "@" in model:
        tracker = registry.AliasTracker(project, model, period=1)  # the service asks less often
        return tracker, lambda path: Identity(tracker.name, tracker.alias, tracker.version_of(path))
    path = registry.download(project, model, folder)
    name, _, version = model.removeprefix("models:/").partition("/")
    return (lambda: path), lambda _: Identity(name, version=version)
