"""The header of a generator's weights file, read without the weights and without torch."""

import json
from pathlib import Path

from srgan.errors import SrganError
from srgan.files import require


def read_metadata(path: str | Path, made_by: str) -> dict[str, str]:
    """The metadata that `srgan.models.save_generator` was given.

    Raises:
        SrganError: the file is missing, or no safetensors file.
    """
    path = require(path, made_by)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length))
        metadata = json.loads(header.get("__metadata__", {}).get("srgan", "{}"))
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata is no table of texts")
        return metadata
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise SrganError(f"{path}: not a readable safetensors file ({error}); make it again with: dvc repro -sf {made_by}") from error
