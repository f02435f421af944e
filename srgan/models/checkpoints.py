"""Generators in safetensors files: written with metadata and a digest and read by the names and shapes of their weights."""

import json
import warnings
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import nn

from srgan.config.base import Component
from srgan.models import pretrained, spandrel
from srgan.models.network import Discriminator, Generator, Network, State
from srgan.models.registry import DISCRIMINATORS, NETWORKS, architecture_of, create_generator
from srgan.models.transfer import Transfer, transfer
from srgan.models.weights_file import DIGEST, damage, digest_of, read_metadata
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file

KEEP_LUMA = "sr.keep_luma"  # entry of a generator that changes only colours
MAX_USUAL_SIZE = 1024  # channels or blocks. Files that claim more are checked before memory is allocated.


def save_generator(path: str | Path, model: nn.Module, metadata: dict[str, str], half: bool = False) -> None:
    """Write a generator as a safetensors file with bare weights. Equal weights give equal bytes.

    Args:
        path: the file to write. It is replaced as a whole.
        model: a generator.
        metadata: entries for the header, which also gets a digest.
        half: write float16, half the size, instead of float32. Every reader computes in float32.

    Example:
        >>> from srgan import build_generator, save_generator
        >>> save_generator("mine.safetensors", build_generator("compact", scale=2, features=8, depth=1), {"sr.name": "mine"})
    """
    weights = model.file_state() if isinstance(model, Generator) else model.state_dict()
    dtype = torch.float16 if half else torch.float32
    state = {key: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous() for key, value in weights.items()}
    metadata = metadata | ({KEEP_LUMA: "1"} if getattr(model, "keep_luma", False) else {})
    plain = memoryview(save(state))
    metadata = metadata | {DIGEST: digest_of(plain[8 + int.from_bytes(plain[:8], "little") :], metadata)}
    with atomic_file(path) as temporary:
        # One entry: safetensors writes several entries in an order that changes from run to run.
        temporary.write_bytes(save(state, metadata={"srgan": json.dumps(metadata, sort_keys=True)}))


def load_generator(path: str | Path, made_by: str = "train") -> tuple[Generator, dict[str, str]]:
    """Read a generator of `save_generator`. The network and its size follow from the names and shapes of the weights.

    Args:
        path: file of weights.
        made_by: stage that writes the file (for error messages).

    Returns:
        The network in evaluation mode and the metadata of the header.

    Raises:
        SrganError: the file is missing, damaged, or holds no known network.

    Example:
        >>> from srgan import load_generator
        >>> model, metadata = load_generator("generator.safetensors")
        >>> model.scale
        2
    """
    metadata = read_metadata(path, made_by)
    if problem := damage(path):
        raise SrganError(f"{path}: damaged ({problem}). Restore it with dvc checkout or write it again with: dvc repro -sf {made_by}")
    try:
        state = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise SrganError(f"{path}: not a readable safetensors file ({error}). Write it again with: dvc repro -sf {made_by}") from error
    return restore(state, metadata, path), metadata


def restore(state: State, metadata: dict[str, str], path: str | Path) -> Generator:
    """Return the generator of a file in evaluation mode, from its weights and the metadata of its header. See `from_state_dict`."""
    model = from_state_dict(state, path).eval()
    model.keep_luma = metadata.get(KEEP_LUMA) == "1"
    return model


def from_state_dict(state: State, path: str | Path, scale: int | None = None) -> Generator:
    """Return the generator of a state dict with these weights. The first network of the registry that they fit is used.

    Args:
        state: weights by key. The keys may be those of third-party checkpoints.
        path: origin of the weights (for error messages).
        scale: of the network, if it is known.

    Raises:
        SrganError: no network recognises the weights, or they do not fit.
    """
    problem = ""
    for network in NETWORKS.values():
        try:
            if model := _fitting(network, state, scale):
                return model
        except SrganError as error:  # a variant that is not supported. A later network may support it
            problem = str(error)
        except (IndexError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
            problem = problem or " ".join(str(error).split())
    extra = "" if spandrel.is_installed() else f". More architectures open after: {spandrel.INSTALL}"
    raise SrganError(f"{path}: {problem or 'holds no network of ' + ', '.join(NETWORKS)}{extra}")


def _fitting(network: Network, state: State, scale: int | None) -> Generator | None:
    """Return a network with these weights, or None if they are of another one."""
    try:
        state = network.convert_keys(state, scale) if network.convert_keys else state
        config = network.detect(state)
    except (IndexError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"looks like {network.name}, but its weights have other names or shapes ({error})") from error
    if config is None:
        return None
    try:
        sizes = [size for value in config.values() for size in (value if isinstance(value, tuple) else (value,)) if isinstance(size, int)]
        if max(sizes, default=0) > MAX_USUAL_SIZE:
            with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # no memory, but seconds to import
                network.factory(**config).load_state_dict(state)
        model = network.factory(**config)
        if not network.from_weights:
            model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"looks like {network.name} {config}, but does not fit: {error}") from error
    return model


def new_generator(config: Component, scale: int, keep_luma: bool = False, start: Path | None = None, channels: int = 3) -> Generator:
    """Return the generator of a section ``model`` of ``params.yaml``, before a training.

    Args:
        config: the section.
        scale: HR size / LR size.
        keep_luma: see `srgan.models.registry.create_generator`.
        start: file of weights. Only a network whose layers follow from weights is built from it.
        channels: of the images, 3 or 1.

    Raises:
        SrganError: such a network has no file, or its file is unreadable, holds another network or has another scale.
    """
    if not NETWORKS[config.name].from_weights:
        return create_generator(config, scale, keep_luma, channels)
    assert start  # the configuration has checked it
    with torch.device("cpu"):  # its sizes are computed while it is built
        generator = from_state_dict(pretrained.read_state(start), start)
    name, _ = architecture_of(generator)
    if name != config.name:
        raise SrganError(f"{start}: holds a network of this project. Set model.name to {name}")
    if generator.scale != scale:
        raise SrganError(f"{start}: its scale is {generator.scale}, but prepare.scale is {scale}. Change one of them")
    if generator.channels != channels:
        raise SrganError(f"{start}: its images have {generator.channels} channels, but prepare.channels is {channels}. Change one of them")
    generator.keep_luma = keep_luma and scale == 1
    return generator


def load_pretrained(path: str | Path, model: Generator) -> Transfer:
    """Load weights for fine-tuning into `model` from a file of `save_generator` or a third-party checkpoint.

    Returns:
        The weights that were copied, and those that are new because the file has another scale.

    Raises:
        SrganError: the file is unreadable or holds another network or size.
    """
    return transfer(from_state_dict(pretrained.read_state(path), path, model.scale), model, path)


def load_discriminator(path: str | Path, model: nn.Module) -> None:
    """Load the weights of a discriminator from a checkpoint of the stage `train` or a third-party file.

    Raises:
        SrganError: the file is unreadable or holds another discriminator or size.
    """
    state = {_normed(key): value for key, value in pretrained.read_state(path, ("state", "discriminator")).items()}
    (wanted,) = (entry for entry in DISCRIMINATORS.values() if type(model) is entry.factory)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        found = [(entry.name, config) for entry in DISCRIMINATORS.values() if (config := _detected(entry, state))]
        ours = _detected(wanted, model.state_dict())
        held = " ".join(map(str, found[0])) if found else "no known discriminator"
        raise SrganError(
            f"{path}: holds {held} but params.yaml names {wanted.name} {ours}. Change train.discriminator, or set its pretrained to scratch"
        ) from error


def _detected(entry: Discriminator, state: State) -> dict[str, Any] | None:
    try:
        return entry.detect(state)
    except (KeyError, IndexError, ValueError):
        return None


def _normed(key: str) -> str:
    """Return the present name of a weight with spectral normalization, for files of older versions of torch."""
    for old, new in (("weight_orig", "weight.original"), ("weight_u", "weight.0._u"), ("weight_v", "weight.0._v")):
        if key.endswith(f".{old}"):
            return key.removesuffix(old) + f"parametrizations.{new}"
    return key
