"""Suffixes of clips and animations. This module imports no decoder."""

from pathlib import Path
from typing import Literal

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
