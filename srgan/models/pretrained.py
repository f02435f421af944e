"""Third-party checkpoints.

The reader accepts ``.pth`` files and safetensors. The weights may be in an entry such as ``params_ema``, and keys may begin with
``module.``. The files of the networks rename the keys of older releases.
"""

from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from srgan.data.download.archives import open_zip
from srgan.models.weights_file import damage
from srgan.utils.errors import SrganError

MAX_COMPRESSION = 2.0  # size of the records / size of the file: torch does not compress
ALWAYS_ALLOWED_BYTES = 16 << 20  # at any ratio

# Averaged weights first.
_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "generator", "model", "net")


def read_state(path: str | Path, outer: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Return the float32 weights of a checkpoint.

    Args:
        path: the file.
        outer: entries of the file that contain the weights, from the outside. Missing ones are passed over.

    Raises:
        SrganError: the file is missing, contains more than weights, or has an unsupported format.
    """
    path = Path(path)
    if not path.is_file():
        raise SrganError(f"{path}: no such file of weights")
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\3\4"  # as torch detects it
    if zipped:
        with open_zip(path, max(ALWAYS_ALLOWED_BYTES, int(MAX_COMPRESSION * path.stat().st_size))):
            pass  # the size of its records is allowed
    if problem := damage(path):
        raise SrganError(f"{path}: damaged ({problem}). Copy or download the file again")
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, OSError) as error:
        raise SrganError(f"{path}: failed to read the file ({error})") from error
    except Exception as error:  # torch.load raises any exception for damaged bytes
        raise SrganError(
            f"{path}: not a checkpoint of plain tensors ({type(error).__name__}). A file that contains code is not opened. "
            "Save its state_dict() alone or convert it to safetensors"
        ) from error
    state = _unwrapped(loaded, (*outer, *_WRAPPERS))
    # A tensor may repeat one stored number many times. As float32 it would take the memory that it claims.
    size, most = sum(4 * value.numel() for value in state.values()), max(ALWAYS_ALLOWED_BYTES, 4 * MAX_COMPRESSION * path.stat().st_size)
    if size > most:
        raise SrganError(
            f"{path}: its tensors claim {size / 1e6:,.0f} MB but the file has {path.stat().st_size / 1e6:,.1f} MB. It is not used"
        )
    try:
        return {key.removeprefix("module."): value.float() if value.is_floating_point() else value for key, value in state.items()}
    except (RuntimeError, NotImplementedError) as error:  # quantized or sparse
        raise SrganError(f"{path}: has tensors of an unusual type ({' '.join(str(error).split())}). Save float32 weights") from error


def _unwrapped(loaded: Any, names: tuple[str, ...]) -> dict[str, Tensor]:
    for name in names:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict):
        return {}
    return {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
