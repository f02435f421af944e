"""The catalogue of data sets and weights, for people to read."""

import textwrap

from srgan.config.yaml import nearest
from srgan.data.download.catalog import DATA_SETS, WEIGHTS, DataSet, File, Weights
from srgan.data.download.places import expanded
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError

WIDTH = 110


def listing() -> str:
    """A line for each entry."""
    lines = [f"{'name':12} {'train':>6} {'test':>5} {'download':>10}  what it is"]
    for entry in DATA_SETS.values():
        counts = [str(entry.counts.get(split, "-")) for split in ("train", "test")]
        lines.append(f"{entry.name:12} {counts[0]:>6} {counts[1]:>5} {_size(entry):>10}  {entry.title}")
    lines += ["", "weights"]
    lines += [f"{entry.name:12} {'':12} {_bytes(entry.files[0].size):>10}  {entry.title}" for entry in WEIGHTS.values()]
    lines += ["", "Name data sets under `data` in params.yaml; your own folders, zip or tar archives and URLs can stand there too."]
    return "\n".join(lines)


def shown(name: str) -> str:
    """Everything about one entry.

    Raises:
        SrganError: there is no such entry; the message names the nearest.
    """
    if name in WEIGHTS:
        return _weights(WEIGHTS[name])
    if name not in DATA_SETS:
        raise SrganError(f"the catalogue has no '{name}'{nearest(name, (*DATA_SETS, *WEIGHTS))}")
    entry = DATA_SETS[name]
    lines = [f"{entry.name}: {entry.title}", *_terms(entry)]
    for split, sources in entry.sources.items():
        lines += ["", f"{split}: {entry.counts[split]} images; a mirror keeps them under {', '.join(_places(entry, split))}"]
        for source in sources:
            for file in source.files:
                lines += _file(file)
            if source.inside != ("*",):
                lines.append(f"    images in it: {', '.join(source.inside)}")
    for photo in entry.photos:
        lines.append(f"  {photo.split:6} {photo.file:24} {photo.sha256[:16]}...  {photo.licence}")
    return "\n".join(lines)


def licences(names: list[str]) -> str:
    """Terms and citations of data sets; a user's own sets have none here."""
    blocks = []
    for name in names:
        if name in DATA_SETS:
            blocks.append("\n".join([f"{name}: {DATA_SETS[name].title}", *_terms(DATA_SETS[name])]))
        elif "/" in name or expanded(name).exists():
            blocks.append(f"{without_secrets(name)}: your own; its terms are for you to know")
        else:
            raise SrganError(f"no data set is called '{name}'{nearest(name, tuple(DATA_SETS))}")
    return "\n\n".join(blocks)


def _terms(entry: DataSet) -> list[str]:
    lines = []
    for label, text in (("terms", entry.licence), ("cite", entry.citation), ("home", entry.homepage)):
        lines += textwrap.wrap(f"  {label}: {text}", WIDTH, subsequent_indent="    ", break_long_words=False)
    return lines


def _weights(entry: Weights) -> str:
    lines = [f"{entry.name}: {entry.title}", f"  terms: {entry.licence}", "  any of:"]
    for file in entry.files:
        lines += _file(file)
    return "\n".join(lines)


def _file(file: File) -> list[str]:
    details = f"    {f'{file.size:,} bytes' if file.size else 'size not stated'}, "
    details += f"SHA-256 {file.sha256}" if file.sha256 else "no checksum stated: the first download's is recorded"
    return [*(f"  {url if '://' in url else f'weights/{url} in a mirror'}" for url in file.urls), details]


def _places(entry: DataSet, split: str) -> list[str]:
    return [f"datasets/{entry.name}/{folder}".rstrip("/") for folder in entry.folders.get(split, ("",))]  # type: ignore[call-overload]


def _size(entry: DataSet) -> str:
    return "installed" if entry.package else _bytes(entry.size)


def _bytes(size: int) -> str:
    if not size:
        return "?"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
