"""Generators in safetensors files: written with metadata and a digest, read back by the names and shapes of their weights."""

import json
import warnings
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from srgan.models import pretrained
from srgan.models.registry import GENERATORS, describe
from srgan.models.weights_file import DIGEST, damage, digest_of, read_metadata
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file

USUAL = 1024  # channels or blocks that no network exceeds; a file that claims more may claim more memory than there is


def save_generator(path: str | Path, model: nn.Module, metadata: dict[str, str]) -> None:
    """Write bare float32 weights as safetensors, with `metadata` and a digest in the header. Equal weights make equal bytes."""
    state = {key: value.detach().float().cpu().contiguous() for key, value in model.state_dict().items()}
    plain = memoryview(save(state))
    metadata = metadata | {DIGEST: digest_of(plain[8 + int.from_bytes(plain[:8], "little") :], metadata)}
    with atomic_file(path) as temporary:
        # One entry: safetensors writes several in an order that changes from run to run.
        temporary.write_bytes(save(state, metadata={"srgan": json.dumps(metadata, sort_keys=True)}))


def load_generator(path: str | Path, made_by: str) -> tuple[nn.Module, dict[str, str]]:
    """Read a generator that `save_generator` wrote.

    The network and its size are read back from the weights' names and shapes.

    Returns:
        The network in evaluation mode, and the header's metadata.
    """
    metadata = read_metadata(path, made_by)
    if problem := damage(path):
        raise SrganError(f"{path}: damaged ({problem}); restore it with dvc checkout, or make it again with: dvc repro -sf {made_by}")
    try:
        state = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise SrganError(f"{path}: not a readable safetensors file ({error}); make it again with: dvc repro -sf {made_by}") from error
    return generator_of(state, path).eval(), metadata


def generator_of(state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """The generator that these weights belong to, with them in it; `path` is named in errors."""
    for build in GENERATORS.values():
        try:
            config = build.config_from(state)  # type: ignore[attr-defined]
        except (IndexError, KeyError, ValueError) as error:
            raise SrganError(f"{path}: looks like {build.__name__}, but its weights have other names or shapes ({error})") from error
        if config is not None:
            try:
                if max(value for value in config.values() if isinstance(value, int)) > USUAL:
                    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # takes no memory, but seconds to import
                        build(**config).load_state_dict(state)
                model = build(**config)
                model.load_state_dict(state)
            except (RuntimeError, ValueError) as error:
                raise SrganError(
                    f"{path}: looks like {build.__name__} {config}, but does not fit: {' '.join(str(error).split())}"
                ) from error
            return model
    raise SrganError(f"{path}: holds no network of {', '.join(GENERATORS)}")


def start_from(path: str | Path, model: nn.Module) -> None:
    """Load weights for fine-tuning into `model`: those that `save_generator` wrote, or a checkpoint of the community.

    Raises:
        SrganError: the file cannot be read, or holds another network or size.
    """
    state = pretrained.read_state(path)
    if "conv_up_x3.weight" in model.state_dict() and "conv_up2.weight" not in state:  # their one step by 3 is called as one by 2
        state = {key.replace("conv_up1.", "conv_up_x3."): value for key, value in state.items()}
    found = generator_of(state, path)
    (name, config), wanted = describe(found), describe(model)
    if (name, config) != wanted:
        raise SrganError(f"{path}: holds {name} {config}, params.yaml names {wanted[0]} {wanted[1]}; change one")
    model.load_state_dict(found.state_dict())
