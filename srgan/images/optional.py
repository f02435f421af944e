"""Decoders of optional packages: HEIC, JPEG XL and camera raw."""

import functools
import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from srgan.utils.errors import SrganError


@dataclass(frozen=True)
class Extra:
    """An optional decoder.

    Attributes:
        module: the Python module.
        name: the extra of this package that installs it.
        label: the format for messages.
        suffixes: of its files, in lower case.
    """

    module: str
    name: str
    label: str
    suffixes: tuple[str, ...]

    @property
    def command(self) -> str:
        """Return the command that installs it."""
        return f"pip install 'srgan[{self.name}]'"


HEIF = Extra("pillow_heif", "heif", "HEIC (HEIF)", (".heic", ".heif", ".hif"))
JXL = Extra("pillow_jxl", "jxl", "JPEG XL", (".jxl",))
RAW = Extra(
    "rawpy",
    "raw",
    "camera raw",
    (
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw",
        ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ),
)  # fmt: skip
EXTRAS = (HEIF, JXL, RAW)


def load(extra: Extra, name: str) -> Any:
    """Return the module of a decoder.

    Args:
        extra: the decoder.
        name: the file that needs it, for the message.

    Raises:
        SrganError: it is not installed, or does not work here.
    """
    try:
        return _module(extra)
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == extra.module else f" ({error})"
        raise SrganError(f"{name}: {extra.label} needs the package {extra.module}{reason}. Install it with: {extra.command}") from error


@functools.cache
def _module(extra: Extra) -> Any:
    module = importlib.import_module(extra.module)
    if extra is HEIF:
        module.register_heif_opener(thumbnails=False)
    return module


def missing(path: Path) -> Extra | None:
    """Return the decoder that a file needs, by its suffix, if it is not installed."""
    suffix = path.suffix.lower()
    return next((extra for extra in EXTRAS if suffix in extra.suffixes and find_spec(extra.module) is None), None)
