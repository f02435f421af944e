"""Print the catalogue of data sets and weights."""

import json
from typing import Any

import yaml

from srgan.config.yaml import nearest
from srgan.data.download.catalog import CATALOG, DATA_SETS, WEIGHTS
from srgan.utils.addresses import without_secrets
from srgan.utils.cache import expand_home
from srgan.utils.errors import SrganError


def list_datasets() -> str:
    """Return a line for each data set and each weights file."""
    lines = [f"{'name':12} {'train':>6} {'test':>5} {'download':>10}  content"]
    for entry in DATA_SETS.values():
        train, test = (entry.counts.get(split, "-") for split in ("train", "test"))
        lines.append(f"{entry.name:12} {train:>6} {test:>5} {'installed' if entry.package else _size(entry.size):>10}  {entry.title}")
    lines += ["", "weights"]
    lines += [f"{entry.name:12} {'':12} {_size(entry.files[0].size):>10}  {entry.title}" for entry in WEIGHTS.values()]
    return "\n".join([*lines, "", "Name data sets under `data` in params.yaml. Your own folders, archives and URLs work there too."])


def describe_dataset(name: str) -> str:
    """Return the catalogue's entry of a data set or of weights, as YAML.

    Raises:
        SrganError: there is no such entry. The message has the nearest name.
    """
    return _dump({name: _find(name, CATALOG["data_sets"] | CATALOG["weights"])})


def licences(names: list[str]) -> str:
    """Return terms and citations of data sets, as YAML. The user's own sets have none.

    Raises:
        SrganError: a name is neither in the catalogue nor a path.
    """
    terms: dict[str, Any] = {}
    for name in names:
        if name not in DATA_SETS and ("/" in name or expand_home(name).exists()):
            terms[without_secrets(name)] = "your own, without recorded terms"
        else:
            entry = _find(name, CATALOG["data_sets"])
            terms[name] = {key: entry[key] for key in ("title", "licence", "citation", "homepage")}
    return _dump(terms)


def _find(name: str, entries: dict[str, Any]) -> dict[str, Any]:
    if name not in entries:
        raise SrganError(f"the catalogue has no '{name}'{nearest(name, tuple(entries))}")
    return entries[name]


def _dump(entries: dict[str, Any]) -> str:
    unshared = json.loads(json.dumps(entries))  # else YAML writes a file of two data sets as an alias
    return yaml.safe_dump(unshared, sort_keys=False, allow_unicode=True, width=110).rstrip()


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size else "?"
