"""The images below a folder, links included."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from srgan.data.download.catalog import Split
from srgan.data.left_out import LeftOut
from srgan.images.read import SUFFIXES

OTHER_SPLIT = "in a folder of the other split"


def is_image(name: str) -> bool:
    """Whether a relative path is that of an image which a data set may hold."""
    return not why_not(name)


def why_not(name: str) -> str:
    """Why a file with this relative path is no image of a data set; empty if it is one."""
    path = PurePosixPath(name)
    if any(map(_hidden, path.parts)):
        return "hidden"
    if path.suffix.lower() not in SUFFIXES:
        return f"ends in {path.suffix.lower()}, which is not read" if path.suffix else "has no suffix, so it is not read"
    return ""


def images_below(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """All images in a folder and below it, sorted. Linked files and folders count as if they were there; a folder counts once.

    Args:
        folder: where to look.
        left_out: gets everything else.
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
                        reason = "a link that leads nowhere"
                    except OSError as error:  # such as in a folder whose files this user may not open
                        reason = f"cannot be read ({error.strerror})"
                    if reason:
                        left_out.add(reason, name)
                    else:
                        found.append(path)
        waiting = sorted(links)  # after all that is really there, which so keeps its own path
    return sorted(found)


def of_split(folder: Path, found: list[Path], split: Split, left_out: LeftOut | None = None) -> list[Path]:
    """Return the images of one split of a user's folder: if it has folders called train or test, only those below the one of the split.

    Args:
        folder: of the data set.
        found: its images.
        split: which part of it.
        left_out: gets the others.
    """
    left_out = left_out or LeftOut()
    parents = {path: path.relative_to(folder).parts[:-1] for path in found}
    if not any({"train", "test"} & set(parts) for parts in parents.values()):
        return found
    for path, parts in parents.items():
        if split not in parts:
            reason = OTHER_SPLIT if {"train", "test"} & set(parts) else "beside the folders train and test"
            left_out.add(reason, path.relative_to(folder).as_posix())
    return [path for path in found if split in parents[path]]


def _walk(top: Path, root: Path, seen: set[tuple[int, int]], left_out: LeftOut) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` without hidden folders and without those in `seen`, which it extends."""

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
