"""`srgan demo`."""

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srgan.inference.providers import Provider
from srgan.utils.errors import SrganError

if TYPE_CHECKING:
    from srgan.config.project import Project

EPILOG = """\
\b
Examples:
  srgan demo                                       # then open http://127.0.0.1:8100
  srgan demo 4x-mine-compact-fp32.onnx other.pth   # with your own models
  srgan demo models:/srgan-x4@champion
"""
HOST = "127.0.0.1"
JOB_SECONDS = 7 * 24 * 3600  # a clip may take days, and the page can cancel it

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command(epilog=EPILOG)
def demo(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            parser=str,
            metavar="[MODEL]...",
            help="Models to offer besides the starters and those of this project: .onnx files, weights (.safetensors, .pth) or "
            "models:/NAME@ALIAS of MLflow's registry. The first one is selected.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1. 0 takes any free one.")] = 8100,
    provider: Annotated[Provider, typer.Option(help="What runs the models. `auto` is CUDA where it works, else the CPU.")] = "auto",
    megapixels: Annotated[float, typer.Option(min=0.001, help="Largest picture.")] = 100,
    megabytes: Annotated[float, typer.Option(min=0.001, help="Largest file.")] = 2000,
) -> None:
    """Show a page on this machine that upscales pictures and clips.

    Drop files on it, compare before and after, and save the results. Nothing leaves the machine.
    """
    from srgan.config.project import Project
    from srgan.demo.app import Demo, create_app
    from srgan.demo.models import Models, offered
    from srgan.service.limits import Limits
    from srgan.service.server import serve

    clips = importlib.import_module("srgan.demo.clips") if importlib.util.find_spec("av") else None
    project, named = Project(), models or []
    limits = Limits(job_pixels=round(megapixels * 1e6), size=round(megabytes * 1e6), job_seconds=JOB_SECONDS)
    choices = offered(project, named, _registered(project, named))
    serve(create_app(Demo(Models(choices, provider), limits, clips)), HOST, port, limits, log_requests=False)


def _registered(project: "Project", named: list[str]) -> "dict[str, Callable[[], Path]]":
    """Return the named models of MLflow's registry, and those that this project registered."""
    addresses = [name for name in named if name.startswith("models:/")]
    has_registry = (project.mlflow / "mlflow.db").is_file() or bool(os.environ.get("MLFLOW_TRACKING_URI"))
    if not (addresses or has_registry):
        return {}
    from srgan.tracking import registry

    try:
        addresses += [address for address in registry.aliases(project) if address not in addresses]
    except SrganError as error:
        log.warning("the registered models are left out: %s", error)
    return {address: registry.AliasTracker(project, address) for address in addresses}
