"""Print the catalogue of data sets and weights."""

from typing import Any

import yaml

from srgan.config.yaml import nearest
from srgan.data.download.catalog import DATA_SETS, WEIGHTS, read_catalog
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
    catalog = read_catalog()
    entries = catalog["data_sets"] | catalog["weights"]
    if name not in entries:
        raise SrganError(f"the catalogue has no '{name}'{nearest(name, tuple(entries))}")
    return _dump({name: entries[name]})


def licences(names: list[str]) -> str:
    """Return terms and citations of data sets, as YAML. The user's own sets have none.

    Raises:
        SrganError: a name is neither in the catalogue nor a path.
    """
    known, blocks = read_catalog()["data_sets"], []
    for name in names:
        if name in known:
            blocks.append(_dump({name: {key: known[name][key] for key in ("title", "licence", "citation", "homepage")}}))
        elif "/" in name or expand_home(name).exists():
            blocks.append(f"{without_secrets(name)}: your own, without recorded terms\n")
        else:
            raise SrganError(f"no data set is called '{name}'{nearest(name, tuple(known))}")
    return "\n".join(blocks).rstrip()


class _Dumper(yaml.SafeDumper):
    """Repeat a file that several data sets share: an alias without its anchor has no meaning."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(entry: dict[str, Any]) -> str:
    return yaml.dump(entry, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size else "?"
