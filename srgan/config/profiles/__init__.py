"""Ready-made ``params.yaml`` files: ``srgan profile list|diff|use``."""

import functools
import shutil
from importlib import resources
from pathlib import Path

from srgan.config import schema
from srgan.config.yaml import nearest
from srgan.utils import files
from srgan.utils.errors import SrganError


def names() -> list[str]:
    """The profiles, by name."""
    return sorted(path.name.removesuffix(".yaml") for path in resources.files(__name__).iterdir() if path.name.endswith(".yaml"))


def text(name: str) -> str:
    """The file of a profile, comments included.

    Raises:
        SrganError: there is none of this name.
    """
    if name not in names():
        raise SrganError(f"no profile '{name}'{nearest(name, names())}")
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


@functools.cache  # the files do not change
def load(name: str) -> schema.Params:
    """A profile's parameters."""
    text(name)  # names the nearest, if there is none
    with resources.as_file(resources.files(__name__).joinpath(f"{name}.yaml")) as file:
        return schema.load(file)


def listing() -> str:
    """A paragraph for each profile: what it is for and what it costs, from the head of its file."""
    paragraphs = []
    for name in names():
        head = [line.removeprefix("#").strip() for line in text(name).split("\n\n")[0].splitlines()]
        paragraphs.append("\n".join([name, *(f"  {line}" for line in head)]))
    return "\n\n".join(paragraphs)


def like(loaded: schema.Params) -> str:
    """The profile that parameters have, such as ``demo``, or the nearest: ``demo + 3 changes``."""
    ours = schema.flatten(loaded)
    changes = {}
    for name in names():
        theirs = schema.flatten(load(name))
        changes[name] = sum(ours.get(key) != theirs.get(key) for key in {**ours, **theirs})
    name = min(changes, key=lambda name: changes[name])
    return name if not changes[name] else f"{name} + {changes[name]} change{'s' if changes[name] > 1 else ''}"


def difference(name: str, path: Path) -> str:
    """A line for each value of `path` that the profile would change."""
    profile, theirs = text(name), schema.flatten(load(name))
    ours = schema.flatten(schema.load(path))
    changes = [(key, ours.get(key, "-"), theirs.get(key, "-")) for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if not changes:
        return f"{path} has the values of {name}" + ("" if path.read_text(encoding="utf-8") == profile else "; only comments differ")
    widths = [max(len(str(row[column])) for row in changes) for column in (0, 1)]
    return "\n".join(f"{key:{widths[0]}}  {old!s:>{widths[1]}} -> {new}" for key, old, new in changes)


def use(name: str, path: Path) -> str:
    """Write the profile to `path`. A file of one's own that it replaces is kept beside it. Returns what to tell."""
    profile, kept = text(name), ""
    if path.is_file():
        if path.read_text(encoding="utf-8") == profile:
            return f"{path} is {name} already"
        if backup := keep(path):
            kept = f"; what it was is in {backup}"
    files.write_text(path, profile)
    return f"{path} is now {name}{kept}; run it with: dvc repro"


def keep(path: Path) -> Path | None:
    """Copy a parameter file that is no profile's to a name beside it. Returns that; None if there was nothing to keep."""
    if path.read_text(encoding="utf-8") in map(text, names()):
        return None
    backup, number = path.with_name(f"{path.name}.bak"), 2
    while backup.exists():
        backup, number = path.with_name(f"{path.name}.bak{number}"), number + 1
    shutil.copyfile(path, backup)
    return backup
