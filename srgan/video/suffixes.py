"""Suffixes of clips and animations. This module imports no decoder."""

import importlib.util
from pathlib import Path
from typing import Literal

from srgan.utils.errors import SrganError

Codec = Literal["h264", "hevc", "av1", "vp9", "prores", "ffv1"]
# The format that FFmpeg writes for each suffix of a clip.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
ANIMATIONS = {".gif": "gif", ".webp": "webp", ".png": "apng", ".apng": "apng"}
# Suffixes of clips that are read, in addition to those that are written.
READ_ONLY = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m2v", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".wmv", ".y4m"
)  # fmt: skip


def is_clip(name: str | Path) -> bool:
    """Return whether a name has the suffix of a clip."""
    suffix = Path(name).suffix.lower()
    return suffix in CONTAINERS or suffix in READ_ONLY


def has_decoder() -> bool:
    """Return whether the package that reads and writes clips is installed."""
    return importlib.util.find_spec("av") is not None


def require_decoder(name: str | Path) -> None:
    """Check the package that reads and writes clips.

    Raises:
        SrganError: it is not installed.
    """
    if not has_decoder():
        raise SrganError(f"{name}: clips need PyAV. Install it with: pip install 'srgan[video]'")
