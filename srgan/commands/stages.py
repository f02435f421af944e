"""The stages of the pipeline, one command each, and `sync`."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from srgan.commands.options import DEFAULT_PARAMS, Address, ParamsFile
from srgan.utils.errors import SrganError

EXPORT_EPILOG = """\
\b
Examples:
  srgan export                                     # the stage: ONNX files in models/
  srgan export --to onnx,ncnn -o files             # the weights of the pipeline
  srgan export --to ncnn -m photo.pth -o models    # other weights, for Upscayl
  srgan export x4-photo --to web -o pages          # a page that runs the model in the browser
"""

app = typer.Typer()


def _formats() -> list[str]:
    from srgan.export.registry import FORMATS

    return list(FORMATS)


class _Trains(TyperCommand):
    """A command whose `--continue` may stand without a value, which typer's options cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the empty value."""
        completed = []
        for argument, following in zip(args, [*args[1:], "-"], strict=False):
            completed += [argument, ""] if argument == "--continue" and following.startswith("-") else [argument]
        return super().parse_args(ctx, completed)


Continue = Annotated[
    str | None,
    typer.Option(
        "--continue",
        metavar="[STATE]",
        parser=str,
        help="Do not train. Enter a state into the parameter file, from which the next training continues with more steps or another "
        "learning rate. Default: the last state.",
    ),
]


@app.command()
def download(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Download the data sets and verify them."""
    _run("download", params)


@app.command()
def prepare(
    params: ParamsFile = DEFAULT_PARAMS,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: the variable SRGAN_PROCESSES or the number of cores.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"] | None, typer.Option(help="`ray` uses all machines of a Ray cluster. Default: runtime.prepare.engine.")
    ] = None,
    address: Address = None,
) -> None:
    """Split the images, make their LR versions and pack the pixels."""
    _run("prepare", params, processes=processes, engine=engine, address=address)


@app.command(cls=_Trains)
def pretrain(params: ParamsFile = DEFAULT_PARAMS, state: Continue = None) -> None:
    """Train the generator with a pixel loss."""
    _train("pretrain", params, state)


@app.command(cls=_Trains)
def train(params: ParamsFile = DEFAULT_PARAMS, state: Continue = None) -> None:
    """Train generator and discriminator as a GAN."""
    _train("train", params, state)


@app.command(epilog=EXPORT_EPILOG)
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            parser=Path, metavar="CHECKPOINT", help="A .safetensors or .pth file or a starter. Default: the pipeline's weights."
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT,FORMAT",
            help="Formats for a folder, such as onnx,ncnn,pth. An unknown name lists all.",
            autocompletion=_formats,
        ),
    ] = "",
    weights: Annotated[Path | None, typer.Option("-m", "--model", parser=Path, metavar="WEIGHTS", help="The same as CHECKPOINT.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", parser=Path, metavar="PATH", help="The file to write for a checkpoint. With --to: the folder."),
    ] = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="The model's name for a checkpoint. Default: the file's name.")] = "",
    licence: Annotated[str, typer.Option("--license", metavar="TEXT", help="The license of a checkpoint's weights.")] = "",
    origin: Annotated[
        str, typer.Option(metavar="TEXT", help="Author and address of a checkpoint's weights, if they are of a third party.")
    ] = "",
    runtime: Annotated[
        Path | None,
        typer.Option(
            parser=Path, metavar="FOLDER", help="For --to web: the unpacked npm package onnxruntime-web. Default: it is downloaded once."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="For a checkpoint: do not optimize the graph.")] = False,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Export the generator, or a checkpoint, as ONNX files or with --to in other formats."""
    if checkpoint and weights:
        raise SrganError("name the weights either as CHECKPOINT or with -m")
    if formats and plain:
        raise SrganError("--to always optimizes the graph. Leave out --plain")
    checkpoint = checkpoint or weights
    if formats:
        _convert(formats, checkpoint, output, name, licence, origin, runtime, params)
        return
    if runtime:
        raise SrganError("--runtime: fits --to web alone")
    if checkpoint:
        from srgan.export import checkpoints

        checkpoints.export_checkpoint(checkpoint, output, name, licence, not plain, origin)
        return
    given = {"output": output, "name": name, "license": licence, "origin": origin, "plain": plain}
    for flag, value in given.items():
        if value:
            raise SrganError(f"--{flag} is for a checkpoint. For the pipeline it is set in {params}, under export")
    _run("export", params)


def _convert(
    formats: str, weights: Path | None, output: Path | None, name: str, licence: str, origin: str, runtime: Path | None, params: Path
) -> None:
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.export import checkpoints

    if not output:
        raise SrganError("--to needs a folder for its files: -o FOLDER")
    if not weights:
        options = schema.load(params).export
        weights, name, licence = Project().generator, name or options.name, licence or options.license
    checkpoints.convert(weights, formats, output, name, licence, origin, runtime)


@app.command()
def evaluate(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Score the models on the test images."""
    _run("evaluate", params)


@app.command()
def report(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Write the report and the model card."""
    _run("report", params)


@app.command()
def register(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Register the exported model in MLflow."""
    _run("register", params)


@app.command()
def sync(params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Send to MLflow what could not be sent during a training."""
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.stages import sync

    sync.run(Project(), schema.load(params))


def _train(stage: str, path: Path, state: str | None) -> None:
    if state is not None:
        from srgan.config import schema
        from srgan.config.project import Project
        from srgan.stages import fit

        print(fit.continue_from(Project(), schema.load(path), path, stage, state))
        return
    _run(stage, path)


def _run(stage: str, path: Path, **options: Any) -> None:
    from srgan import stages
    from srgan.config import recorded, schema
    from srgan.config.project import Project
    from srgan.distributed import launch
    from srgan.utils import machine

    if stage in ("prepare", "pretrain", "train"):
        machine.keep_freed_memory()
    loaded = schema.load(path)
    if "DVC_STAGE" in os.environ:
        recorded.require_recorded(path)
    if stage in ("prepare", "pretrain") and loaded.pretrain.pretrained.startswith("models:/"):
        from srgan.stages import start

        loaded = start.pin(Project(), loaded, path)
    unedited = partial(recorded.refuse_edits, loaded, path, stage)
    project, function = Project(), stages.STAGES[stage]
    if stage not in ("pretrain", "train"):
        function(project, loaded, **options)
        unedited()
        return
    processes = getattr(loaded.runtime, stage).nproc_per_node
    if processes > 1 and not launch.is_distributed_worker():
        from srgan.distributed.elastic import launch_workers

        sys.exit(launch_workers(processes))
    function(project, loaded, unedited=unedited)
