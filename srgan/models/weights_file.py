"""Checks of files of weights without torch: the header of a safetensors file, digests and checksums."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import BinaryIO

from srgan.utils.errors import SrganError
from srgan.utils.files import require

SUFFIXES = (".safetensors", ".pth")
DIGEST = "sha256"  # entry of the metadata with the digest of the tensors and of the other entries


def read_metadata(path: str | Path, made_by: str) -> dict[str, str]:
    """Return the metadata of a file of `srgan.models.checkpoints.save_generator`.

    Args:
        path: file of weights.
        made_by: stage that writes the file (for error messages).

    Raises:
        SrganError: the file is missing, or not a safetensors file.
    """
    path = require(path, made_by)
    try:
        with path.open("rb") as file:
            metadata = _metadata(file, path.stat().st_size)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise SrganError(f"{path}: not a readable safetensors file ({error}). Write it again with: dvc repro -sf {made_by}") from error
    metadata.pop(DIGEST, None)
    return metadata


def header(path: Path) -> dict[str, str]:
    """Return the metadata of any file of weights. It is empty for a third-party checkpoint."""
    return read_metadata(path, "train") if path.suffix == ".safetensors" else {}


def is_foreign(metadata: dict[str, str]) -> bool:
    """Return True if weights with this metadata in their header are of a third party."""
    return "sr.objective" not in metadata


def digest_of(tensors: bytes | memoryview, metadata: dict[str, str]) -> str:
    """Return the entry `DIGEST` of a file with these bytes after its header and these other entries."""
    checksum = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    checksum.update(tensors)
    return checksum.hexdigest()


def damage(path: str | Path) -> str:
    """Return a phrase about the damage of a file of weights, empty if it is intact or has no checksum.

    The digest of `srgan.models.checkpoints.save_generator` is checked, and the checksums of a ``.pth`` that is a zip.
    """
    path = Path(path)
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return damaged_record(file) if file.read(4) == b"PK\3\4" else ""  # the test of torch
        try:
            metadata = _metadata(file, path.stat().st_size)
        except (ValueError, AttributeError, TypeError, RecursionError):
            return ""  # of a third party, or the reader of the file reports the error
        expected = metadata.pop(DIGEST, "")
        return "its digest differs" if expected and digest_of(file.read(), metadata) != expected else ""


def damaged_record(file: BinaryIO) -> str:
    """Return a phrase about the first record of a zip with a wrong checksum, empty if all are intact. Torch compares no checksums."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            record = archive.testzip()
    except Exception as error:  # zipfile raises any exception for damaged bytes
        return f"{error}"
    return f"checksum of {record}" if record else ""


def _metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """Return the metadata. The file is read up to the end of the header."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise ValueError("its header is cut off")
    metadata = json.loads(json.loads(file.read(length)).get("__metadata__", {}).get("srgan", "{}"))
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a table of texts")
    return metadata
