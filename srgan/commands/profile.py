"""`srgan profile`, and `srgan plan`, which measures the cost of a profile."""

from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

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
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Measure memory and time of a training.

    A few steps on random pixels are timed.
    """
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
