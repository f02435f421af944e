"""Files of weights, looked at without torch: the header of a safetensors file, and whether the bytes are those that were written."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import BinaryIO

from srgan.utils.errors import SrganError
from srgan.utils.files import require

DIGEST = "sha256"  # entry of the metadata: of the tensors' bytes and of the other entries


def read_metadata(path: str | Path, made_by: str) -> dict[str, str]:
    """The metadata that `srgan.models.checkpoints.save_generator` was given.

    Raises:
        SrganError: the file is missing, or no safetensors file.
    """
    path = require(path, made_by)
    try:
        with path.open("rb") as file:
            metadata = _metadata(file, path.stat().st_size)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise SrganError(f"{path}: not a readable safetensors file ({error}); make it again with: dvc repro -sf {made_by}") from error
    metadata.pop(DIGEST, None)
    return metadata


def digest_of(tensors: bytes | memoryview, metadata: dict[str, str]) -> str:
    """The entry `DIGEST` of a file with these bytes after its header, and with these other entries."""
    checksum = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    checksum.update(tensors)
    return checksum.hexdigest()


def damage(path: str | Path) -> str:
    """What is wrong with the bytes of a file of weights, in words; empty if nothing is, or if the file holds no checksum.

    Checks the digest that `srgan.models.checkpoints.save_generator` wrote, and the checksums of a ``.pth`` that is a zip.
    """
    path = Path(path)
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return damaged_record(file) if file.read(4) == b"PK\3\4" else ""  # as torch decides it
        try:
            metadata = _metadata(file, path.stat().st_size)
        except (ValueError, AttributeError, TypeError, RecursionError):
            return ""  # not ours, or told by who reads it
        expected = metadata.pop(DIGEST, "")
        return "its digest differs" if expected and digest_of(file.read(), metadata) != expected else ""


def damaged_record(file: BinaryIO) -> str:
    """The first record of a zip, as torch writes it, whose checksum differs; torch itself compares none. Empty if all are whole."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            record = archive.testzip()
    except Exception as error:  # whatever the bytes provoke
        return f"{error}"
    return f"checksum of {record}" if record else ""


def _metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """Reads up to the end of the header."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise ValueError("its header is cut off")
    metadata = json.loads(json.loads(file.read(length)).get("__metadata__", {}).get("srgan", "{}"))
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is no table of texts")
    return metadata
