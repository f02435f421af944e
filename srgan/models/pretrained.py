"""Checkpoints of other programs, under the key names used here.

Read are ``.pth`` files and safetensors of RRDB (ESRGAN, Real-ESRGAN) and Compact (SRVGG) networks: wrapped in ``params_ema`` or
``params``, with a ``module.`` before each key, and with the names of ESRGAN's first releases (``model.1.sub.0.RDB1.conv1.0``,
``RRDB_trunk.0.RDB1.conv1``).
"""

import re
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from srgan.data.download.archives import refuse_bomb
from srgan.models.weights_file import damage
from srgan.utils.errors import SrganError

MOST_RATIO = 2.0  # of the records to the file: torch does not compress
SMALL = 16 << 20  # bytes that are allowed whatever the ratio

_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "generator")  # the averaged weights before the others

# Names of the code published with the paper -> today's. `{N}` and the like are numbers.
_PUBLISHED = (
    (r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)", r"body.\1.rdb\2.conv\3"),
    (r"trunk_conv", "conv_body"),
    (r"upconv(\d)", r"conv_up\1"),
    (r"HRconv", "conv_hr"),
)
_BLOCK = (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0", r"body.\1.rdb\2.conv\3")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Float32 weights of a checkpoint, named as the networks here name them.

    Raises:
        SrganError: the file is missing, holds more than weights, or is of a kind that is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise SrganError(f"{path}: no such file of weights")
    refuse_bomb(path, MOST_RATIO, SMALL)
    if problem := damage(path):
        raise SrganError(f"{path}: damaged ({problem}); get the file again")
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, OSError) as error:
        raise SrganError(f"{path}: cannot be read ({error})") from error
    except Exception as error:  # torch.load raises whatever the bytes provoke
        raise SrganError(
            f"{path}: not a checkpoint of plain tensors ({type(error).__name__}); a file with code in it is not opened: "
            "save its state_dict() alone, or convert it to safetensors"
        ) from error
    state = _unwrapped(loaded)
    # A tensor may show one stored number many times: as float32 it would take what it claims.
    size, most = sum(4 * value.numel() for value in state.values()), max(SMALL, 4 * MOST_RATIO * path.stat().st_size)
    if size > most:
        raise SrganError(f"{path}: its tensors claim {size / 1e6:,.0f} MB, the file has {path.stat().st_size / 1e6:,.1f} MB; not used")
    try:
        return renamed(state, str(path))
    except (IndexError, ValueError, RuntimeError, NotImplementedError) as error:  # names or shapes that only look like a known network
        raise SrganError(f"{path}: not weights of a known network ({' '.join(str(error).split())})") from error


def renamed(state: dict[str, Tensor], place: str) -> dict[str, Tensor]:
    """Today's key names for those of older programs; `place` is named in errors."""
    state = {key.removeprefix("module."): value.float() for key, value in state.items()}
    if "model.0.weight" in state and any(key.startswith("model.1.sub.") for key in state):
        state = _first_release(state)
    for pattern, name in _PUBLISHED:
        state = {re.sub(rf"^{pattern}(?=\.)", name, key): value for key, value in state.items()}
    first = state.get("conv_first.weight")
    if first is not None and first.dim() != 4:
        raise SrganError(f"{place}: conv_first.weight has {first.dim()} dimensions, a convolution's weights have 4; not supported")
    if first is not None and first.shape[1] != 3:
        kind = "that begins with pixel-unshuffle" if first.shape[1] in (12, 48) else "of other than RGB images"
        raise SrganError(f"{place}: an RRDB network {kind} ({first.shape[1]} input channels) is not supported")
    return state


def _unwrapped(loaded: Any) -> dict[str, Tensor]:
    for name in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict):
        return {}
    return {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _first_release(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``model.N``: numbers of a sequence in which the blocks, the upsampling and the last convolutions follow each other."""
    blocks = {int(found[1]) for key in state if (found := re.match(r"model\.1\.sub\.(\d+)\.", key))}
    trunk = max(blocks)  # the convolution after the blocks is the last of them
    numbers = sorted({int(found[1]) for key in state if (found := re.match(r"model\.(\d+)\.weight", key))})
    *ups, hr, last = numbers[1:]
    names = {"model.0": "conv_first", f"model.1.sub.{trunk}": "conv_body", f"model.{hr}": "conv_hr", f"model.{last}": "conv_last"}
    names |= {f"model.{number}": f"conv_up{which}" for which, number in enumerate(ups, 1)}
    result = {}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        result[f"{names.get(stem) or re.sub(_BLOCK[0], _BLOCK[1], stem)}.{kind}"] = value
    return result
