"""Profiles: named sets of options, as overlays on the defaults. ``srgan profile list|diff|use``."""

import functools
import shutil
from importlib import resources
from pathlib import Path

from srgan.config import render, schema
from srgan.utils import files
from srgan.utils.errors import SrganError, nearest


def list_profiles() -> list[str]:
    """Return the names of the profiles."""
    return sorted(path.name.removesuffix(".yaml") for path in resources.files(__name__).iterdir() if path.name.endswith(".yaml"))


@functools.cache  # the files do not change
def load(name: str) -> schema.Params:
    """Return the options of a profile.

    Raises:
        SrganError: no profile has this name.
    """
    with resources.as_file(_file(name)) as file:
        return schema.load(file)


@functools.cache
def read(name: str) -> str:
    """Return the whole ``params.yaml`` of a profile: the heading and every option with its comment."""
    return render.render(load(name), "\n".join(heading(name)))


def heading(name: str) -> list[str]:
    """Return the lines of the comment at the top of a profile: purpose and cost."""
    head = _file(name).read_text(encoding="utf-8").split("\n\n")[0]
    return [line.removeprefix("#").strip() for line in head.splitlines()]


def _file(name: str) -> resources.abc.Traversable:
    if name not in list_profiles():
        raise SrganError(f"no profile '{name}'{nearest(name, list_profiles())}")
    return resources.files(__name__).joinpath(f"{name}.yaml")


def describe() -> str:
    """Return a paragraph with purpose and cost for each profile."""
    return "\n\n".join("\n".join([name, *(f"  {line}" for line in heading(name))]) for name in list_profiles())


def closest(params: schema.Params) -> str:
    """Return the profile that has these options, such as ``demo``, or the nearest, such as ``demo + 3 changes``."""
    ours = schema.flatten(params)
    changes = {}
    for name in list_profiles():
        theirs = schema.flatten(load(name))
        changes[name] = sum(ours.get(key) != theirs.get(key) for key in {**ours, **theirs})
    name = min(changes, key=lambda name: changes[name])
    return name if not changes[name] else f"{name} + {changes[name]} change{'s' if changes[name] > 1 else ''}"


def difference(name: str, path: Path) -> str:
    """Return a line for each value of `path` that the profile would change."""
    theirs, ours = schema.flatten(load(name)), schema.flatten(schema.load(path))
    changes = [(key, ours.get(key, "-"), theirs.get(key, "-")) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if not changes:
        return f"{path} has the values of {name}" + ("" if path.read_text(encoding="utf-8") == read(name) else "; only comments differ")
    widths = [max(len(str(row[column])) for row in changes) for column in (0, 1)]
    return "\n".join(f"{key:{widths[0]}}  {old!s:>{widths[1]}} -> {new}" for key, old, new in changes)


def apply(name: str, path: Path) -> str:
    """Write the profile to `path` after a copy of the user's file. Return a message for the user."""
    profile, kept = read(name), ""
    if path.is_file():
        if path.read_text(encoding="utf-8") == profile:
            return f"{path} is {name} already"
        if copy := backup(path):
            kept = f"; the former file is {copy}"
    files.write_text(path, profile)
    return f"{path} is now {name}{kept}; run it with: dvc repro"


def backup(path: Path) -> Path | None:
    """Copy a parameter file that is not a profile. Return the copy, or None for a profile."""
    if path.read_text(encoding="utf-8") in map(read, list_profiles()):
        return None
    copy, number = path.with_name(f"{path.name}.bak"), 2
    while copy.exists():
        copy, number = path.with_name(f"{path.name}.bak{number}"), number + 1
    shutil.copyfile(path, copy)
    return copy
