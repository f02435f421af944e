"""`srgan data`: the catalogue of data sets and weights."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

app = typer.Typer(help="List data sets and weights, with their terms. Estimate the degradations of photographs.")
log = logging.getLogger(__name__)


def _names() -> list[str]:
    from srgan.data.download import catalog

    return [*catalog.DATA_SETS, *catalog.WEIGHTS]


@app.command("list")
def list_() -> None:
    """Print the catalogue, a line for each entry."""
    from srgan.data.download import describe

    print(describe.list_datasets())


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A data set or weights.", autocompletion=_names)]) -> None:
    """Print files, checksums, terms and citation."""
    from srgan.data.download import describe

    print(describe.describe_dataset(name))


@app.command()
def licence(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets. Default: those of the parameter file.", autocompletion=_names),
    ] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print terms and citations of data sets."""
    from srgan.data.download import describe

    print(describe.licences(names or _chosen(params)))


@app.command()
def estimate(
    folder: Annotated[Path, typer.Argument(parser=Path, metavar="FOLDER", help="Photographs, also in subfolders.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", parser=Path, metavar="FILE", help="Gets the recipe. Default: print it.")
    ] = None,
) -> None:
    """Write a recipe that imitates the degradations of your photographs."""
    from srgan.data import estimate as estimates
    from srgan.utils.files import write_text

    findings, failures = estimates.estimate(folder)
    text = estimates.recipe_text(folder, findings, failures)
    print(text, end="")
    if output:
        write_text(output, text)
        log.info("%s: the recipe", output)
    if failures:
        log.warning("%d files could not be measured:\n  %s", len(failures), "\n  ".join(failures))


def _chosen(path: Path) -> list[str]:
    """Return the data sets and folders that a parameter file names, each once."""
    from srgan.config import schema
    from srgan.config.data import OwnSet

    data = schema.load(path).data
    places = [entry.folder if isinstance(entry, OwnSet) else entry for entry in (*data.sets("train"), *data.sets("test"))]
    return list(dict.fromkeys(places))
