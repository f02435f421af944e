"""Find the images below a folder. Links are followed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from srgan.data.download.catalog import Split
from srgan.data.left_out import LeftOut
from srgan.images.read import SUFFIXES

OTHER_SPLIT = "in a folder of the other split"


def is_image(name: str) -> bool:
    """Return True if a relative path is an image that a data set may contain."""
    return not why_not(name)


def why_not(name: str) -> str:
    """Return the reason to omit a file by its relative path, empty for an image."""
    path = PurePosixPath(name)
    if any(map(_hidden, path.parts)):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return f"ends in {path.suffix.lower()}, which is not read" if path.suffix else "has no suffix, so it is not read"
    return ""


def images_below(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """Return all images below a folder, sorted. Links are followed, and a folder with several paths counts once.

    Args:
        folder: the data set.
        left_out: counts all other files.
    """
    left_out = left_out or LeftOut()
    found, seen = [], set[tuple[int, int]]()
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for top in waiting:
            for base, folders, files in _walk(top, folder, seen, left_out):
                links += [base / name for name in folders if (base / name).is_symlink()]
                for path in (base / name for name in files):
                    name = path.relative_to(folder).as_posix()
                    reason = why_not(name)
                    try:
                        if not stat.S_ISREG(path.stat().st_mode):
                            reason = reason or "not a plain file"
                    except FileNotFoundError:
                        reason = "a broken link"
                    except OSError as error:  # such as a missing permission
                        reason = f"cannot be read ({error.strerror})"
                    if reason:
                        left_out.add(reason, name)
                    else:
                        found.append(path)
        waiting = sorted(links)  # last, so that a linked folder keeps its own path
    return sorted(found)


def of_split(folder: Path, found: list[Path], split: Split, left_out: LeftOut | None = None) -> list[Path]:
    """Return the images of one split of a user's folder: those below its folders named after the split, or all if there are none.

    Args:
        folder: the data set.
        found: its images.
        split: ``train`` or ``test``.
        left_out: counts the other images.
    """
    left_out = left_out or LeftOut()
    parents = {path: path.relative_to(folder).parts[:-1] for path in found}
    if not any({"train", "test"} & set(parts) for parts in parents.values()):
        return found
    for path, parts in parents.items():
        if split not in parts:
            reason = OTHER_SPLIT if {"train", "test"} & set(parts) else "outside of the folders train and test"
            left_out.add(reason, path.relative_to(folder).as_posix())
    return [path for path in found if split in parents[path]]


def _walk(top: Path, root: Path, seen: set[tuple[int, int]], left_out: LeftOut) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Call `os.walk` without hidden folders and without those in `seen`, and extend `seen`."""

    def cannot(error: OSError) -> None:
        place = Path(os.fspath(error.filename or top)).relative_to(root).as_posix()
        left_out.add(f"a folder that cannot be read ({error.strerror})", place)

    for name, folders, files in os.walk(top, onerror=cannot):
        base = Path(name)
        place = base.relative_to(root).as_posix()
        about = base.stat()
        if (about.st_dev, about.st_ino) in seen:
            left_out.add("a folder that is included already, under another path", place)
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        for inner in filter(_hidden, list(folders)):
            folders.remove(inner)
            left_out.add("hidden folder", (base / inner).relative_to(root).as_posix())
        yield base, sorted(folders), sorted(files)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
