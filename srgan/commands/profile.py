"""`srgan profile`, and `srgan plan`, which measures the cost of a profile."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile
from srgan.utils.errors import SrganError

app = typer.Typer()
profiles = typer.Typer(help="List, compare and use ready-made parameter files.")


def _names() -> list[str]:
    from srgan.config import profiles

    return profiles.list_profiles()


Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile.", autocompletion=_names)]


@profiles.command("list")
def list_() -> None:
    """Print each profile with its purpose and its cost."""
    from srgan.config import profiles

    print(profiles.describe())


@profiles.command()
def diff(name: Name, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print the values that a profile would change."""
    from srgan.config import profiles

    print(profiles.difference(name, params))


@profiles.command()
def use(name: Name, params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Write a profile as the parameter file."""
    from srgan.config import profiles

    print(profiles.apply(name, params))


@app.command()
def plan(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROFILE", help="Profiles to plan. Default: the parameter file.", autocompletion=_names),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Plan all profiles.")] = False,
    images: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Compute bytes and time for N images. May be given several times."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, metavar="M", help="For --images: machines like this one.")] = 1,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Measure memory and time of a training, or compute the capacity for many images.

    A few steps on random pixels are timed.
    """
    if images:
        if every or (names and len(names) > 1):
            raise SrganError("--images: fits one profile. Name one, or none for the parameter file")
        _plan_images(images, nodes, names[0] if names else None, params)
        return
    from srgan.config import profiles, schema
    from srgan.config.project import Project
    from srgan.data.left_out import downloaded
    from srgan.tuning import disk_space, estimate
    from srgan.utils import machine

    machine.keep_freed_memory()
    project = Project()
    chosen = {name: profiles.load(name) for name in (profiles.list_profiles() if every else names or [])}
    for name, loaded in (chosen or {str(params): schema.load(params)}).items():
        print(f"{name}:")
        if not chosen and (left_out := downloaded(project.raw)):
            print(f"  {left_out}")
        print(f"  {disk_space.plan(project, loaded)}", flush=True)
        data = None if chosen else estimate.prepared_data(project)  # the data in the project is that of its parameter file
        for stage in ("pretrain", "train"):
            print(f"  {estimate.plan(loaded, stage, data=data)}", flush=True)


def _plan_images(images: list[int], nodes: int, name: str | None, params: Path) -> None:
    from srgan.config import profiles, schema
    from srgan.config.project import Project
    from srgan.starters import default
    from srgan.tuning import capacity
    from srgan.utils import machine

    machine.keep_freed_memory()
    project = Project()
    rates = capacity.measure(project, profiles.load(name) if name else schema.load(params), default.default_model(project))
    print(f"{rates}\n\nnodes: {nodes}, with {rates.cores} cores each\n")
    print(capacity.table(rates, images, nodes), flush=True)
    for count in images:
        print(f"\n{capacity.losses(rates, count, nodes)}", flush=True)
