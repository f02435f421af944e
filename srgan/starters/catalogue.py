"""The starters: each is a file of weights and a card of the same name in one folder. What the folder holds is the list."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from srgan.starters.card import Card, read_card
from srgan.utils.errors import SrganError, nearest
from srgan.utils.files import sha256

DEFAULT = "x4-photo"  # of `srgan upscale`, until the project has a model of its own
RESTORATION = "restore"  # of `srgan enhance`, in its place
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # unlike the name of a file, it has no suffix
MAX_BYTES = 2_500_000  # of one file of weights
MAX_BYTES_TOGETHER = 8_000_000


@dataclass(frozen=True)
class Starter:
    """A starter with the file of its weights and its card."""

    name: str
    weights: Path
    card: Card


def folder() -> Path:
    """Return the folder of the starters: ``SRGAN_STARTERS``, or the one in the package."""
    return Path(os.environ.get("SRGAN_STARTERS") or Path(__file__).parent)


def files(name: str, place: Path) -> tuple[Path, Path]:
    """Return the files of a starter in a folder: weights and card."""
    return place / f"{name}.safetensors", place / f"{name}.json"


def names() -> list[str]:
    """Return the names of all starters."""
    return sorted(path.stem for path in folder().glob("*.json") if has(path.stem))


def has(name: str) -> bool:
    """Return True if a starter has this name."""
    return bool(NAME.fullmatch(name)) and all(path.is_file() for path in files(name, folder()))


def known() -> str:
    """Return a phrase with the names of all starters."""
    return f"starters: {', '.join(names()) or 'none in this installation'}"


def find(name: str) -> Starter:
    """Return the starter with this name.

    Raises:
        SrganError: there is none, its card is damaged, or its weights are not those of its card.
    """
    if not has(name):
        found = names()
        raise SrganError(f"no starter '{name}'" + (nearest(name, found) if found else f" ({known()})"))
    weights, path = files(name, folder())
    card = read_card(path)
    if sha256(weights) != card.sha256:
        raise SrganError(f"{weights}: damaged or replaced, its SHA-256 is not the one in {path.name}. Install srgan again")
    return Starter(name, weights, card)


def resolve(value: str | Path) -> Path:
    """Return the weights of the starter with this name, or the path itself.

    Raises:
        SrganError: the value is a single word, but neither a starter nor a file.
    """
    name = str(value)
    if has(name):
        return find(name).weights
    if NAME.fullmatch(name) and not Path(name).exists():
        raise SrganError(f"'{name}': no such file, and no starter has this name ({known()})")
    return Path(value)


def described(path: Path) -> str:
    """Return the name of a model for messages: ``the starter x4-photo``, or the name of a file."""
    return f"the starter {path.stem}" if path.parent == folder() else path.name


def table(used: str = "") -> str:
    """Return a line for each starter: name, scale, size, licence and purpose.

    Args:
        used: the starter that gets a star.
    """
    starters = [find(name) for name in names()]
    if not starters:
        return f"{folder()}: no starters in this installation"
    cells = [
        (each.name + (" *" if each.name == used else ""), f"x{each.card.scale}", f"{each.card.bytes / 1e6:.1f} MB", each.card.licence)
        for each in starters
    ]
    rows = [("name", "scale", "size", "licence"), *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    purposes = ["purpose", *(each.card.purpose for each in starters)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"{line}  {purpose}" for line, purpose in zip(lines, purposes, strict=True))
