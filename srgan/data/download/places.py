"""Addresses of data sets and weights: local files, the mirror, and copies in the cache."""

import importlib.util
import os
import urllib.parse
from pathlib import Path

from srgan.utils.cache import cache_folder, expand_home
from srgan.utils.errors import SrganError
from srgan.utils.files import digest


def local(address: str) -> Path | None:
    """Return the path behind a path, ``file://`` or ``package:NAME/...``. Return None for an address of another machine.

    Raises:
        SrganError: the package is not installed.
    """
    if address.startswith("package:"):
        name, _, inner = address.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise SrganError(f"the package {name} is not installed. Run: pip install {name}")
        return Path(spec.origin).parent / inner
    if address.startswith("file://"):
        return Path(os.fsdecode(urllib.parse.unquote_to_bytes(urllib.parse.urlparse(address).path)))
    return None if "://" in address else Path(address)


def cached(url: str) -> Path:
    """Return the cache's folder for a download. It depends on the address only, so data sets share archives."""
    return cache_folder() / digest(url)[:12]


def mirror() -> str:
    """Return ``SRGAN_MIRROR``, a folder or an address that is tried first, or an empty text. It may contain a password."""
    place = os.environ.get("SRGAN_MIRROR", "")
    return place if "://" in place or not place else str(expand_home(place))


def join(mirror: str, name: str) -> str:
    """Return the address of a file of a mirror."""
    folder = local(mirror)
    return (folder / name).resolve().as_uri() if folder else f"{mirror.rstrip('/')}/{urllib.parse.quote(name)}"
