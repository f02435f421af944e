"""Weights as a model of the upscaler: PyTorch computes them. The other modules of this room work without torch."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import torch

from srgan import __version__
from srgan.inference.backends import Engine, fall_back
from srgan.inference.contract import CONTRACT
from srgan.models import pretrained
from srgan.models.checkpoints import restore
from srgan.models.network import Generator
from srgan.models.registry import NETWORKS, architecture_of
from srgan.models.weights_file import header
from srgan.utils.files import sha256
from srgan.utils.tensor_memory import TensorMemory

SIDE = 64  # pixels of the image whose memory is measured

log = logging.getLogger(__name__)


def read_weights(path: Path) -> tuple[Generator, dict[str, str]]:
    """Return the generator of a file in evaluation mode, and the metadata of its header.

    Args:
        path: ``.safetensors`` of this project, or a third-party checkpoint (`srgan.models.pretrained`).

    Raises:
        SrganError: the file is unreadable, or holds no known network.
    """
    state = pretrained.read_state(path)
    metadata = header(path)
    return restore(state, metadata, path), metadata


def contract_metadata(model: Generator) -> dict[str, str]:
    """Return the `sr.*` entries that follow from the network alone."""
    arch, config = architecture_of(model)
    colours = {"sr.color_out": "RGB", "sr.keep_luma": "1"} if model.keep_luma else {}
    reach = {} if NETWORKS[arch].from_weights else {"sr.receptive_field": str(model.receptive_field)}  # unknown
    return (
        colours
        | reach
        | {
            "sr.contract": CONTRACT,
            "sr.scale": str(model.scale),
            "sr.arch": arch,
            "sr.arch_config": json.dumps(config, sort_keys=True),
            "sr.color": "RGB" if model.channels == 3 else "Y",
            "sr.range": "0-1",
            "sr.tile_overlap": str(model.receptive_field),
            "sr.precision": "fp32",
            "sr.tool_version": __version__,
            **({"sr.multiple_of": str(model.multiple_of)} if model.multiple_of > 1 else {}),
            **({"sr.padding": model.padding} if model.multiple_of > 1 and model.padding != "edge" else {}),
        }
    )


def described(path: Path, metadata: dict[str, str]) -> dict[str, str]:
    """Return the `sr.*` entries of weights: those of their file, and what is assumed of a third-party checkpoint."""
    # Most third-party checkpoints are GANs. A GAN is assumed, so that its images are marked as generated.
    return {"sr.objective": "gan", "sr.license": "unknown"} | metadata | {"sr.name": path.stem, "sr.weights_sha256": sha256(path)}


def memory_per_pixel(model: Generator) -> int:
    """Measure the peak memory of the activations in PyTorch, in bytes per pixel of the input."""
    image = torch.zeros(1, model.channels, SIDE, SIDE)
    with torch.inference_mode(), TensorMemory([*model.parameters(), *model.buffers(), image]) as memory:
        model(image)
    return math.ceil(memory.peak / SIDE**2)


def open_with_torch(path: Path, provider: str, strict: bool) -> Engine:
    """Load weights as a model, on a GPU or the CPU.

    Args:
        path: file of weights.
        provider: a name in `srgan.inference.providers.PROVIDERS`. ``auto`` is CUDA where it works, else the CPU.
        strict: raise an error if `provider` does not work. Otherwise the next best is used.

    Raises:
        SrganError: the file is unreadable or holds no known network, or `strict` is set and `provider` does not work.
    """
    model, metadata = read_weights(path)
    model = model.folded()
    cuda = torch.cuda.is_available()
    if provider in ("tensorrt", "openvino"):
        fall_back(provider, f"PyTorch computes {path.name}. Export it first: srgan export {path}", strict)
    elif provider == "cuda" and not cuda:
        fall_back(provider, "PyTorch finds no CUDA device", strict)
    device = torch.device("cuda" if cuda and provider != "cpu" else "cpu")
    entries = described(path, metadata) | contract_metadata(model) | {"sr.memory_per_pixel": str(memory_per_pixel(model))}
    model.to(device)

    @torch.inference_mode()
    def run(tensor: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(tensor).to(device)).float().cpu().numpy()

    return Engine(run, f"{device.type.upper()} by PyTorch", entries)
