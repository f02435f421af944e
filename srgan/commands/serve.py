"""`srgan serve`."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srgan.inference.providers import Provider
from srgan.utils.errors import SrganError

if TYPE_CHECKING:
    from srgan.config.delivery import Promote
    from srgan.service.model import Identity, ServedModel
    from srgan.service.trial import Mode

EPILOG = """\
\b
Examples:
  srgan serve
  srgan serve --model models:/srgan-x4@champion
  srgan serve --monitor monitor
  srgan serve --model models:/srgan-x4@champion --monitor monitor --challenger models:/srgan-x4@challenger
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
    monitor: Annotated[
        Path | None,
        typer.Option(parser=Path, metavar="FOLDER", help="Measure the results and log them there, see `srgan monitor`. Default: do not."),
    ] = None,
    keep_days: Annotated[float, typer.Option(min=0.001, help="Days after which the log and the samples are deleted.")] = 30,
    sample_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the images that are kept in the folder, with their results. The log holds none.")
    ] = 0,
    challenger: Annotated[
        str | None,
        typer.Option(parser=str, metavar="MODEL", help="Compare this model on a share of the requests, and roll it back if it is worse."),
    ] = None,
    share: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of the requests that the challenger gets.")] = 0.1,
    canary: Annotated[
        bool, typer.Option("--canary", help="Answer these requests by the challenger. Default: its results are not returned.")
    ] = False,
) -> None:
    """Serve a model: images by HTTP."""
    from srgan.monitoring.observer import Observer
    from srgan.service.app import create_app
    from srgan.service.auth import VARIABLE, read_token
    from srgan.service.limits import Limits
    from srgan.service.server import is_local, serve
    from srgan.service.service import Service
    from srgan.service.trial import Trial
    from srgan.tasks import task_of

    token = read_token(token_file)
    if not token and not is_local(host):
        log.warning("%s: every program that reaches this address may use the service. Set a token: --token-file or %s", host, VARIABLE)
    limits = Limits(round(megapixels * 1e6), round(job_megapixels * 1e6), round(megabytes * 1e6), seconds, concurrency, queue, jobs)
    if challenger and not monitor:
        raise SrganError("--challenger needs --monitor FOLDER, where the comparison is logged")
    with tempfile.TemporaryDirectory() as folder:
        served = _served(model, provider, Path(folder))
        upscaler = served.current.upscaler
        task = task_of(upscaler.scale, upscaler.adds_colour)
        log.info("%s by %s on %s", task.short(upscaler.scale), served.current.identity, upscaler.provider)
        observer = Observer(monitor, keep_days, sample_share) if monitor else None
        trial = None
        if challenger and observer:
            rival = _served(challenger, provider, Path(folder))
            mode: Mode = "canary" if canary else "shadow"
            trial = Trial(served, rival, share, mode, observer.log, _rules(), _record_rollback)
        serve(create_app(Service(served, limits, reload_seconds, observer, trial), token), host, port, limits)


def _served(model: str | None, provider: Provider, folder: Path) -> "ServedModel":
    from srgan.inference.upscaler import Upscaler
    from srgan.service.model import ServedModel

    source, identify = _source(model, folder)
    return ServedModel(Upscaler(source, provider), identify)


def _rules() -> "Promote":
    """Return the rules of a promotion: those of the project, or the defaults."""
    from srgan.config import schema
    from srgan.config.delivery import Promote
    from srgan.config.project import Project

    project = Project()
    return schema.load(project.params).promote if project.params.is_file() else Promote()


def _record_rollback(identity: "Identity", reason: str) -> None:
    """Tag a registered version that was rolled back, so that `srgan promote` refuses it."""
    from srgan.config.project import Project
    from srgan.tracking import registry

    if identity.version:
        try:
            registry.tag(Project(), identity.name, identity.version, {registry.TRIAL_TAG: f"rolled back: {reason}"[:4900]})
        except SrganError as error:
            log.warning("%s. MLflow does not know that the version was rolled back", error)


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
