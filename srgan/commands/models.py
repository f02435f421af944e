"""Commands for starters, networks and trained models: list, show, use, make, compare, promote, roll back, interpolate."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile, Reason
from srgan.utils.errors import SrganError

MAKE_EPILOG = """\
\b
Example, after `srgan profile use starter-x4-clean` and `dvc repro`:
  srgan models make x4-clean -o starters --purpose "Clean images, four times as large."
"""

app = typer.Typer()
starters = typer.Typer(help="List, show and use starters: trained models that ship with the package. List the networks.")


def _names() -> list[str]:
    from srgan.starters import catalogue

    return catalogue.names()


@starters.command("list")
def list_() -> None:
    """Print a line for each starter. The star marks the one that `srgan upscale` uses in this folder."""
    from srgan.config.project import Project
    from srgan.starters import catalogue, default

    print(catalogue.table(default.chosen_starter(Project())))
    print(f"\n{default.sentence(Project())} Choose another with: srgan models use NAME")


@starters.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="The starter.", autocompletion=_names)]) -> None:
    """Print the card of a starter: data, license, scores and validations."""
    from srgan.evaluation.starter_card import card_text
    from srgan.starters import catalogue

    print(card_text(catalogue.find(name)))


@starters.command()
def use(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The starter, or `own` for the exported model of this project.", autocompletion=_names)
    ],
) -> None:
    """Make a starter the model that `srgan upscale` uses in this folder."""
    from srgan.config.project import Project
    from srgan.starters import default

    print(default.use(Project(), name))


@starters.command(epilog=MAKE_EPILOG)
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the starter, such as x4-clean.")],
    output: Annotated[Path, typer.Option("-o", "--output", parser=Path, metavar="FOLDER", help="Gets the weights and the card.")],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="The images that the starter is for, in one sentence.")],
    not_better: Annotated[
        list[str], typer.Option(metavar="TEXT", help="A model that is better, with its score, for the card. May be repeated.")
    ] = [],  # noqa: B006
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Write a starter from the finished training of this project: float16 weights and a card.

    The weights are scored again on the test images. They must have the PSNR of the report up to 0.02 dB.
    """
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.export import starter
    from srgan.tracking.training_record import current_training

    project, loaded = Project(), schema.load(params)
    current_training(project, loaded)  # an error if the model was not trained with these parameters
    starter.make(project, loaded, name, output, purpose, tuple(not_better))


@starters.command()
def networks() -> None:
    """Print the networks with their cost on this machine.

    The time is measured on small images with random weights.
    """
    from srgan.tuning.networks import costs_table

    print(costs_table())


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="`workspace`, a starter, a git revision, a DVC experiment, name or id of an MLflow run, models:/NAME@ALIAS, .onnx file or "
            "weights.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", parser=Path, metavar="FILE", help="The page to write.")] = Path(
        "reports/compare.html"
    ),
    data_set: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="Score on this data set alone. Default: all test images.")
    ] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Compare trainings on one page: scores, images and settings."""
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.tracking import compare

    compare.compare(Project(), schema.load(params), runs, output, data_set)


@app.command()
def promote(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote even if a rule fails. Needs --reason.")] = False,
    reason: Reason = "",
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Make the challenger the champion.

    Its scores have to pass the rules. The exit code is 3 if they fail.
    """
    if force != bool(reason):
        raise SrganError("--force and --reason need each other: the registry records why a rule was overruled")
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.tracking import promotion

    decision = promotion.promote(Project(), schema.load(params), dry_run, reason)
    for check in decision.checks:
        print(f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.found} (required: {check.wanted})")
    before = f"version {decision.champion}" if decision.champion else "none"
    dry = " (dry run)" if dry_run else ""
    print(f"{decision.model}: version {decision.challenger}, champion before: {before}: {decision.verdict}{dry}\n  {decision.reason}")
    if decision.verdict == "held":
        raise typer.Exit(3)


@app.command()
def rollback(reason: Reason = "", params: ParamsFile = DEFAULT_PARAMS) -> None:
    """Make the previous champion the champion again."""
    from srgan.config import schema
    from srgan.config.project import Project
    from srgan.tracking import promotion

    former, restored = promotion.rollback(Project(), schema.load(params), reason)
    print(f"version {restored} is the champion again, {f'version {former} no longer' if former else 'where there was none'}")


@app.command()
def interpolate(
    first: Annotated[Path, typer.Argument(parser=Path, metavar="FIRST", help="Weights (.safetensors or .pth) or a starter.")],
    second: Annotated[Path, typer.Argument(parser=Path, metavar="SECOND", help="Weights of the same network.")],
    alpha: Annotated[float, typer.Option(min=0, max=1, help="The share of the second.")],
    output: Annotated[Path, typer.Option("-o", "--output", parser=Path, metavar="FILE", help="The .safetensors file to write.")],
) -> None:
    """Mix the weights of two generators.

    A mix of the pretrained and the GAN generator has less invented detail.
    """
    from srgan.export import checkpoints

    if output.suffix != ".safetensors":
        raise SrganError(f"{output}: weights are written as .safetensors")
    checkpoints.interpolate(first, second, alpha, output)
