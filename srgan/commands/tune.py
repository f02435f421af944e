"""`srgan tune`: hyper-parameter search."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile


class _RunsFiles(TyperGroup):
    """A group whose first argument may be a study file instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command `run`."""
        return super().parse_args(ctx, ["run", *args] if args and args[0].endswith((".yaml", ".yml")) else args)


app = typer.Typer(
    cls=_RunsFiles,
    help="Search for better parameters: srgan tune STUDY.yaml. The same command continues a study that was killed.",
)
Study = Annotated[str, typer.Argument(metavar="STUDY", help="The name of the study.")]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(parser=Path, metavar="STUDY.yaml", help="The study file.")],
    workers: Annotated[int, typer.Option(min=1, help="Trials at the same time on this machine.")] = 1,
) -> None:
    """Run the trials of a study file. Other machines with the same folder may help."""
    from srgan.config.project import Project
    from srgan.tuning import results
    from srgan.tuning.run import tune

    print(results.describe(tune(file, Project(), workers)))


@app.command()
def show(study: Study) -> None:
    """Print the trials of a study and write its page."""
    from srgan.config.project import Project
    from srgan.tuning import page, results

    opened = results.open_study(study, Project())
    print(results.describe(opened))
    print(page.write(opened))


@app.command()
def apply(
    study: Study,
    trial: Annotated[int | None, typer.Option(metavar="NUMBER", help="The trial. Default: the best one.")] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Write the parameters of the best trial into the parameter file."""
    from srgan.config.project import Project
    from srgan.tuning import results

    print(results.apply(results.open_study(study, Project()), params, trial))
