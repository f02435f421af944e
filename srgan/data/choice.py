"""Resolve the entries of `data` in ``params.yaml``: names of the catalogue, and the user's own folders, archives and addresses."""

import os
import re
import stat
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from srgan.config.data import Data, OwnSet, RecipeSet
from srgan.data.download.archives import is_archive
from srgan.data.download.catalog import DATA_SETS, DataSet, File, Source, Split
from srgan.data.names import safe_path
from srgan.images.read import SUFFIXES
from srgan.utils.addresses import without_secrets
from srgan.utils.cache import expand_home
from srgan.utils.errors import SrganError, nearest

OWN = "the user's own, not stated"  # licence


def choose(entries: Sequence[str | OwnSet], split: Split, root: Path = Path()) -> list[DataSet]:
    """Return the data sets of a list in ``params.yaml``. Addresses of single images form one set called ``images``.

    Relative folders start at `root`.

    Raises:
        SrganError: an entry has no meaning, the set has no such split, or two sets have one name.
    """
    chosen, addresses = [], []
    for entry in entries:
        if isinstance(entry, OwnSet):
            chosen.append(_own(entry, split, root))
        elif entry in DATA_SETS:
            chosen.append(_of_catalogue(entry, split))
        elif _is_image_address(entry):
            addresses.append(entry)
        else:
            chosen.append(_own(OwnSet(folder=entry), split, root))
    images = tuple(File((address,)) for address in addresses)
    if images:
        chosen.append(DataSet("images", "images by their addresses", OWN, sources={split: (Source(images),)}))
        _refuse_twins([file.name for file in images], "images", "Rename one")
    hint = "Give one a name of its own: {folder: ..., name: ...}"
    _refuse_twins([entry.name for entry in chosen], "data sets", hint)
    return chosen


def inputs_of_test_sets(data: Data, root: Path = Path()) -> list[dict[str, Any]]:
    """Return how the inputs of the test sets are made, if a set has a recipe of its own.

    Returns:
        For each entry of ``data.test`` the name of its data set (`set`), its name in tables (`name`) and its recipe as in ``params.yaml``
        (`recipe`, None for ``prepare.recipe``). Empty if no entry has a recipe.
    """
    found = []
    for entry in data.test:
        recipe = entry.model_dump()["recipe"] if isinstance(entry, RecipeSet) else None
        (chosen,) = choose((entry.set if isinstance(entry, RecipeSet) else entry,), "test", root)
        name = f"{chosen.name}+{entry.label}" if isinstance(entry, RecipeSet) else chosen.name
        found.append({"set": chosen.name, "name": name, "recipe": recipe})
    unique = {each["name"]: each for each in found}  # addresses of single images form one set
    return list(unique.values()) if any(isinstance(entry, RecipeSet) for entry in data.test) else []


def _of_catalogue(name: str, split: Split) -> DataSet:
    if split not in DATA_SETS[name].counts:
        why = "is a benchmark: training on it would make its scores worthless" if split == "train" else "has no test images"
        raise SrganError(f"params.yaml: data.{split}: {name} {why}")
    return DATA_SETS[name]


def _own(given: OwnSet, split: Split, root: Path) -> DataSet:
    """Return the user's folder or archive, on this machine or at an address, as a data set."""
    key, place = f"params.yaml: data.{split}", given.folder
    if given.name in DATA_SETS:
        raise SrganError(f"{key}: name: '{given.name}' is a data set of the catalogue. Choose another name")
    if _is_image_address(place):
        raise SrganError(f"{key}: '{place}' is the address of one image. Write it without keys")
    if "://" in place:
        if not is_archive(place.split("?")[0]):
            raise SrganError(f"{key}: '{place}' ends like neither an archive nor an image. Rename it, or download it yourself")
        return _described(given, root, sources={split: (Source((File((place,)),)),)})
    path = root / expand_home(place)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if os.sep in place or "." in place or place in DATA_SETS:
            raise SrganError(f"{key}: {place}: no such folder or archive") from error
        raise SrganError(f"{key}: no data set is called '{place}'{nearest(place, tuple(DATA_SETS))} (see: srgan data list)") from error
    except (OSError, ValueError) as error:  # such as a name that is too long or has a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise SrganError(f"{key}: {place[:80]!r}: not a folder or archive ({reason})") from error
    if stat.S_ISDIR(mode):
        return _described(given, root, folder=path)
    if not (stat.S_ISREG(mode) and is_archive(place)):
        raise SrganError(f"{key}: {place} is neither a folder nor a zip or tar archive")
    return _described(given, root, sources={split: (Source((File((path.resolve().as_uri(),)),)),)})


def _described(given: OwnSet, root: Path, **origin: object) -> DataSet:
    name = given.name or _label(given.folder, root)
    hr, lr = (safe_path(PurePosixPath(folder).as_posix()) if folder else "" for folder in (given.hr, given.lr))  # as in data/raw
    return replace(DataSet(name, f"the user's {without_secrets(given.folder)}", OWN, hr=hr, lr=lr, reference=given.reference), **origin)  # type: ignore[arg-type]


def _is_image_address(name: str) -> bool:
    return "://" in name and name.split("?")[0].lower().endswith(SUFFIXES)


def _label(name: str, root: Path) -> str:
    """Return ``photos`` for ``/home/me/photos/``, ``photos.tar.gz`` and ``https://example.org/photos.zip?raw=1``.

    The label is never a name of the catalogue.
    """
    last = PurePosixPath(urllib.parse.unquote(name.split("?")[0])).name if "://" in name else (root / expand_home(name)).resolve().name
    stem = re.sub(r"(\.tar)?\.[a-z0-9]+$", "", last, flags=re.IGNORECASE) if is_archive(last) else last
    label = re.sub(r"[^\w.-]", "-", stem).lstrip(".-") or "images"  # a spreadsheet takes a leading '-' for a formula
    return f"my-{label}" if label in DATA_SETS else label


def _refuse_twins(names: list[str], what: str, hint: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SrganError(f"params.yaml: data: two {what} are called '{name}'. {hint}")
