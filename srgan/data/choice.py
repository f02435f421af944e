"""Which data sets a list in ``params.yaml`` means: entries of the catalogue, and the user's own folders, archives and addresses."""

import os
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from srgan.config.schema import OwnSet
from srgan.config.yaml import nearest
from srgan.data.download.archives import is_archive
from srgan.data.download.catalog import DATA_SETS, DataSet, File, Source, Split
from srgan.data.download.places import expanded
from srgan.data.names import safe_path
from srgan.images.read import SUFFIXES
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError

OWN = "the user's own, not stated"  # terms


def choose(entries: Sequence[str | OwnSet], split: Split) -> list[DataSet]:
    """The data sets behind a list in ``params.yaml``.

    Addresses of single images make up one set, called ``images``.

    Raises:
        SrganError: an entry means nothing, the set has no such split, or two sets would have one name.
    """
    chosen, addresses = [], []
    for entry in entries:
        if isinstance(entry, OwnSet):
            chosen.append(_own(entry, split))
        elif entry in DATA_SETS:
            chosen.append(_of_catalogue(entry, split))
        elif _is_image_address(entry):
            addresses.append(entry)
        else:
            chosen.append(_own(OwnSet(entry), split))
    images = tuple(File((address,)) for address in addresses)
    if images:
        chosen.append(DataSet("images", "images by their addresses", OWN, sources={split: (Source(images),)}))
        _refuse_twins([file.name for file in images], "images", "rename one")
    hint = "give one a name of its own: {folder: ..., name: ...}"
    _refuse_twins([entry.name for entry in chosen], "data sets", hint)
    return chosen


def _of_catalogue(name: str, split: Split) -> DataSet:
    if split not in DATA_SETS[name].counts:
        why = "is a benchmark: training on it would make its scores worthless" if split == "train" else "has no test images"
        raise SrganError(f"params.yaml: data.{split}: {name} {why}")
    return DATA_SETS[name]


def _own(given: OwnSet, split: Split) -> DataSet:
    """A set of the user's: a folder, an archive, or the address of an archive."""
    place = given.folder
    if given.name in DATA_SETS:
        raise SrganError(f"params.yaml: data.{split}: name: '{given.name}' is a data set of the catalogue; choose another name")
    try:
        name, shown = given.name or _label(place), without_secrets(place)
        if "://" not in place:
            expanded(place).stat()
    except FileNotFoundError:
        pass  # said below
    except (OSError, ValueError) as error:  # such as a name that is too long, or with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise SrganError(f"params.yaml: data.{split}: {place[:80]!r}: not a folder or archive ({reason})") from error
    entry = DataSet(name, f"the user's {shown}", OWN, hr=_inner(given.hr), lr=_inner(given.lr))
    if _is_image_address(place):
        raise SrganError(f"params.yaml: data.{split}: '{place}' is the address of one image; write it without keys")
    if "://" in place:
        if not is_archive(place.split("?")[0]):
            raise SrganError(
                f"params.yaml: data.{split}: '{place}' ends like neither an archive nor an image; rename it, or download it yourself"
            )
        return replace(entry, sources={split: (Source((File((place,)),)),)})
    path = expanded(place)
    if path.is_dir():
        return replace(entry, folder=path)
    if path.is_file() and is_archive(place):
        return replace(entry, sources={split: (Source((File((path.resolve().as_uri(),)),)),)})
    if path.is_file():
        raise SrganError(f"params.yaml: data.{split}: {place} is neither a folder nor a zip or tar archive")
    if os.sep in place or "." in place or place in DATA_SETS:
        raise SrganError(f"params.yaml: data.{split}: {place}: no such folder or archive")
    raise SrganError(f"params.yaml: data.{split}: no data set is called '{place}'{nearest(place, tuple(DATA_SETS))}; see: srgan data list")


def _inner(folder: str) -> str:
    """A folder inside of a data set, as its images are named in ``data/raw``."""
    return safe_path(PurePosixPath(folder).as_posix()) if folder else ""


def _is_image_address(name: str) -> bool:
    return "://" in name and name.split("?")[0].lower().endswith(SUFFIXES)


def _label(name: str) -> str:
    """``photos`` for ``/home/me/photos/``, ``photos.tar.gz`` and ``https://example.org/photos.zip?raw=1``; never a catalogue name."""
    last = PurePosixPath(urllib.parse.unquote(name.split("?")[0])).name if "://" in name else expanded(name).resolve().name
    stem = re.sub(r"(\.tar)?\.[a-z0-9]+$", "", last, flags=re.IGNORECASE) if is_archive(last) else last
    label = re.sub(r"[^\w.-]", "-", stem).lstrip(".-") or "images"  # in a spreadsheet, '-' would begin a formula
    return f"my-{label}" if label in DATA_SETS else label


def _refuse_twins(names: list[str], what: str, hint: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SrganError(f"params.yaml: data: two {what} are called '{name}'; {hint}")
