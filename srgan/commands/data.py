"""`srgan data`: the catalogue of data sets and weights."""

from pathlib import Path
from typing import Annotated

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile

app = typer.Typer(help="List data sets and weights, with their terms.")


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


def _chosen(path: Path) -> list[str]:
    """Return the data sets and folders that a parameter file names, each once."""
    from srgan.config import schema
    from srgan.config.data import OwnSet

    data = schema.load(path).data
    places = [entry.folder if isinstance(entry, OwnSet) else entry for entry in (*data.sets("train"), *data.sets("test"))]
    return list(dict.fromkeys(places))
