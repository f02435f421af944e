"""`srgan data`: the catalogue of data sets and weights."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from srgan.commands.options import DEFAULT_PARAMS, ParamsFile
from srgan.utils.addresses import without_secrets
from srgan.utils.cache import expand_home
from srgan.utils.errors import SrganError, nearest

app = typer.Typer(
    help="List data sets and weights, with their terms. Estimate the degradations of photographs. Copy the store to a bucket."
)
log = logging.getLogger(__name__)


def _names() -> list[str]:
    from srgan.data.download import catalog

    return [*catalog.DATA_SETS, *catalog.WEIGHTS]


@app.command("list")
def list_() -> None:
    """Print the catalogue, a line for each entry."""
    from srgan.data.download.catalog import DATA_SETS, WEIGHTS

    print(f"{'name':12} {'train':>6} {'test':>5} {'download':>10}  content")
    for entry in DATA_SETS.values():
        train, test = (entry.counts.get(split, "-") for split in ("train", "test"))
        files = {file for sources in entry.sources.values() for file in sources[0].files}
        size = "installed" if entry.packages else _size(*(file.size for file in files))
        print(f"{entry.name:12} {train:>6} {test:>5} {size:>10}  {entry.title}")
    print("\nweights")
    for weights in WEIGHTS.values():
        print(f"{weights.name:12} {'':12} {_size(weights.files[0].size):>10}  {weights.title}")
    print("\nName data sets under `data` in params.yaml. Your own folders, archives and URLs work there too.")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A data set or weights.", autocompletion=_names)]) -> None:
    """Print files, checksums, terms and citation."""
    from srgan.data.download.catalog import CATALOG

    print(_yaml({name: _find(name, CATALOG["data_sets"] | CATALOG["weights"])}))


@app.command()
def licence(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets. Default: those of the parameter file.", autocompletion=_names),
    ] = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print terms and citations of data sets."""
    from srgan.data.download.catalog import CATALOG

    terms: dict[str, Any] = {}
    for name in names or _chosen(params):
        if name not in CATALOG["data_sets"] and ("/" in name or expand_home(name).exists()):
            terms[without_secrets(name)] = "your own, without recorded terms"
        else:
            entry = _find(name, CATALOG["data_sets"])
            terms[name] = {key: entry[key] for key in ("title", "licence", "citation", "homepage")}
    print(_yaml(terms))


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


@app.command()
def upload(address: Annotated[str, typer.Argument(parser=str, metavar="ADDRESS", help="A folder such as s3://bucket/train.")]) -> None:
    """Copy the packed store of the training images to a bucket, for `runtime.store`."""
    from srgan.config.project import Project
    from srgan.data import store_upload

    store_upload.upload(Project().prepared, address)


def _chosen(path: Path) -> list[str]:
    """Return the data sets and folders that a parameter file names, each once."""
    from srgan.config import schema
    from srgan.config.data import OwnSet

    data = schema.load(path).data
    places = [entry.folder if isinstance(entry, OwnSet) else entry for entry in (*data.sets("train"), *data.sets("test"))]
    return list(dict.fromkeys(places))


def _find(name: str, entries: dict[str, Any]) -> dict[str, Any]:

    if name not in entries:
        raise SrganError(f"the catalogue has no '{name}'{nearest(name, tuple(entries))}")
    return entries[name]


def _yaml(entries: dict[str, Any]) -> str:
    import yaml

    unshared = json.loads(json.dumps(entries))  # else YAML writes an alias for a file of two data sets
    return yaml.safe_dump(unshared, sort_keys=False, allow_unicode=True, width=110).rstrip()


def _size(*sizes: int) -> str:
    size = sum(sizes) if all(sizes) else 0
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size else "?"
