"""Find the image files that a command names: files, folders and patterns."""

import glob
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from srgan.images import optional
from srgan.images.formats import suffixes
from srgan.utils.errors import SrganError

READABLE = suffixes()
MAX_NAMES = 3  # files of one reason in a warning

log = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """The files that a search does not use, by reason, and the folders that it does not enter."""

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    folders: list[str] = field(default_factory=list)

    def warn(self) -> None:
        """Log their number and some names."""
        if self.files:
            reasons = "; ".join(
                f"{reason} {len(paths)} ({', '.join([path.name for path in paths[:MAX_NAMES]] + ['...'] * (len(paths) > MAX_NAMES))})"
                for reason, paths in sorted(self.files.items())
            )
            log.warning("%d files are left out: %s", sum(map(len, self.files.values())), reasons)
        for text in self.folders:
            log.warning("%s", text)


def find_images(inputs: list[str], folder: Path, suffixes: tuple[str, ...] = READABLE) -> dict[Path, Path]:
    """Return the images that a command names.

    A folder is searched with its subfolders. A pattern such as ``photos/**/*.jpg`` is expanded as in a shell.

    Args:
        inputs: files, folders and patterns.
        folder: of the results, which need not exist. What it holds is no input.
        suffixes: of the files that a folder is searched for.

    Returns:
        Each image, with its path below the named folder or below the part of a pattern before its first ``*``.

    Raises:
        SrganError: an input is missing, no image is found, or the folder is not writable.
    """
    if folder.is_file():
        raise SrganError(f"{folder}: is a file. Several results need a folder")
    found: dict[Path, Path] = {}
    left_out = LeftOut()
    for name in inputs:
        for source, inside in _searched(name, folder, suffixes, left_out):
            found.setdefault(source, inside)
    left_out.warn()
    if not found:
        raise SrganError(f"{', '.join(inputs)}: no images found. The suffixes are {', '.join(suffixes)}")
    check_writable(folder)
    return found


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, or to the folder that it would be created in.

    Raises:
        SrganError: they cannot.
    """
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SrganError(f"{place}: files cannot be written there ({error.strerror}). Choose another folder") from error


def _searched(name: str, folder: Path, suffixes: tuple[str, ...], left_out: LeftOut) -> Iterator[tuple[Path, Path]]:
    """Yield the images that an argument names, with their path below the named folder. Results of a former run are left out."""
    path = Path(name)
    if path.is_file():
        yield path, Path(path.name)
        return
    if path.is_dir():
        root, sources = path, _inside(path, folder, left_out)
    elif glob.has_magic(name):
        root = Path(*path.parts[: next(index for index, part in enumerate(path.parts) if glob.has_magic(part))])
        sources = root.glob(str(path.relative_to(root)))
    elif path.exists():
        raise SrganError(f"{name}: is a pipe or a device. One image from there goes to one file")
    else:
        raise SrganError(f"{name}: no such file or folder")
    results = folder.resolve()
    if results == root.resolve():
        raise SrganError(f"{folder}: holds the images. The results need a folder of their own")
    inside_root = results.is_relative_to(root.resolve())
    for source in sorted(sources):
        inside = source.relative_to(root)
        if not source.is_file() or (inside_root and source.resolve().is_relative_to(results)):
            continue
        suffix = source.suffix.lower()
        if any(part.startswith(".") for part in inside.parts):
            if suffix in suffixes:
                left_out.files["hidden"].append(inside)
        elif extra := optional.missing(source):
            left_out.files[f"{suffix} (needs {extra.command})"].append(inside)
        elif suffix in suffixes:
            yield source, inside
        else:
            left_out.files[suffix or "without suffix"].append(inside)


def _inside(folder: Path, results: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield all files in a folder and its subfolders. Hidden, linked and unreadable subfolders are left out.

    Raises:
        SrganError: the folder itself cannot be read.
    """

    def unreadable(error: OSError) -> None:
        text = f"{error.filename}: the folder cannot be read ({error.strerror})"
        if Path(error.filename) == folder:
            raise SrganError(f"{text}. Change its permissions") from error
        left_out.folders.append(f"{text}. It is left out")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left_out.folders += [
            f"{linked}: a linked folder is not entered. It is left out"
            for linked in (Path(place, name) for name in folders)
            if linked.is_symlink() and linked.resolve() != results.resolve()
        ]
        yield from (Path(place) / name for name in names)
