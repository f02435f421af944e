"""Where data sets and weights come from and are kept: paths of this machine, addresses, the mirror, the cache."""

import os
import urllib.parse
from pathlib import Path

from srgan.utils.errors import SrganError
from srgan.utils.files import digest


def expanded(path: str) -> Path:
    """A path with ``~`` replaced by the home folder.

    Raises:
        SrganError: there is no such home folder, as in containers whose user is only a number.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SrganError(f"{path}: the home folder of this user is not known; set HOME, or write the path in full") from error


def cache() -> Path:
    """Where downloads are kept: ``SRGAN_CACHE``, else ``srgan`` in the user's cache folder.

    Raises:
        SrganError: no variable names a folder, and the user has no home folder.
    """
    if named := os.environ.get("SRGAN_CACHE"):
        return expanded(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srgan"
    except RuntimeError as error:
        raise SrganError("no folder to keep downloads in: this user has no home folder; set SRGAN_CACHE or HOME to a folder") from error


def kept(url: str) -> Path:
    """The folder of the cache where a download is kept, by its address: several data sets may want one archive."""
    return cache() / digest(url)[:12]


def mirror() -> str:
    """``SRGAN_MIRROR``: a folder or an address that is tried first; empty if it is not set. The address may hold a password."""
    place = os.environ.get("SRGAN_MIRROR", "")
    return place if "://" in place or not place else str(expanded(place))


def local(place: str) -> Path | None:
    """The path on this machine, if that is what a place is."""
    if place.startswith("file://"):
        return Path(urllib.parse.unquote(urllib.parse.urlparse(place).path))
    return None if "://" in place else Path(place)


def join(mirror: str, name: str) -> str:
    """The address of a mirror's file."""
    folder = local(mirror)
    return (folder / name).resolve().as_uri() if folder else f"{mirror.rstrip('/')}/{urllib.parse.quote(name)}"
