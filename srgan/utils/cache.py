"""The user's cache folder, for files that can be downloaded or built again."""

import os
from pathlib import Path

from srgan.utils.errors import SrganError


def expand_home(path: str) -> Path:
    """Return a path with ``~`` replaced by the home folder.

    Raises:
        SrganError: the user has no home folder, as in containers whose user is only a number.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SrganError(f"{path}: the home folder of this user is not known. Set HOME, or write the path in full") from error


def cache_folder() -> Path:
    """Return ``SRGAN_CACHE``, by default ``srgan`` in the user's cache folder.

    Raises:
        SrganError: no variable names a folder, and the user has no home folder.
    """
    if named := os.environ.get("SRGAN_CACHE"):
        return expand_home(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srgan"
    except RuntimeError as error:
        raise SrganError("no folder to keep downloads in: this user has no home folder. Set SRGAN_CACHE or HOME to a folder") from error
