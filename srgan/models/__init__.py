"""The networks, one file each, and the way to build them by name."""

import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from srgan.errors import SrganError
from srgan.files import atomic_file
from srgan.models import community
from srgan.models.compact import Compact
from srgan.models.discriminators import PatchDiscriminator, UnetDiscriminator, VggDiscriminator
from srgan.models.rrdb import RRDB
from srgan.models.srcnn import SRCNN
from srgan.models.srresnet import SRResNet
from srgan.tiles import enlarged
from srgan.weights import DIGEST, damage, digest_of, read_metadata

TILE = 768  # LR pixels of a side
USUAL = 1024  # channels or blocks that no network exceeds; a file that claims more may claim more memory than there is

GENERATORS: dict[str, Callable[..., nn.Module]] = {"compact": Compact, "srresnet": SRResNet, "rrdb": RRDB, "srcnn": SRCNN}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"patch": PatchDiscriminator, "vgg": VggDiscriminator, "unet": UnetDiscriminator}


def build_generator(name: str, **config: Any) -> nn.Module:
    """A generator with fresh weights; `config` are the arguments of its class."""
    return GENERATORS[name](**config)


def build_discriminator(name: str, **config: Any) -> nn.Module:
    """A discriminator with fresh weights; `config` are the arguments of its class."""
    return DISCRIMINATORS[name](**config)


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
    state = community.read_state(path)
    if "conv_up_x3.weight" in model.state_dict() and "conv_up2.weight" not in state:  # their one step by 3 is called as one by 2
        state = {key.replace("conv_up1.", "conv_up_x3."): value for key, value in state.items()}
    found = generator_of(state, path)
    (name, config), wanted = describe(found), describe(model)
    if (name, config) != wanted:
        raise SrganError(f"{path}: holds {name} {config}, params.yaml names {wanted[0]} {wanted[1]}; change one")
    model.load_state_dict(found.state_dict())


@torch.inference_mode()
def enlarge(model: nn.Module, lr_image: np.ndarray, tile: int = TILE) -> np.ndarray:
    """Enlarge an `(H, W, 3)` uint8 image, wherever the model is, to `(scale * H, scale * W, 3)` uint8, clipped and rounded.

    Images of more pixels than a square of side `tile` are cut into tiles, see `srgan.tiles.strips`.
    """
    device = next(model.parameters()).device

    def run(image: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float().div_(255)
        sr_image = model(pixels)[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
        return sr_image.permute(1, 2, 0).cpu().numpy()

    return enlarged(run, lr_image, model.scale, tile, model.receptive_field)


def describe(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name of a generator and the arguments that build it again."""
    name = next(name for name, build in GENERATORS.items() if type(model) is build)
    return name, {key: getattr(model, key) for key in inspect.signature(type(model)).parameters}


def parameter_count(model: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters())
