"""Pre-trained networks for losses and metrics: found in torch's cache or in the mirror, or downloaded."""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from srgan.data.download.catalog import WEIGHTS, File, in_mirror, local_path, mirror
from srgan.data.download.http import TransferError, transfer
from srgan.utils.errors import SrganError

log = logging.getLogger(__name__)


class WeightsUnavailable(SrganError):
    """Pre-trained weights that are neither on this machine nor can be downloaded."""


def weights_path(name: str) -> Path:
    """Return the path of the weights of a network. See `find_weights`."""
    return find_weights(name)[0]


def find_weights(name: str, layers: Collection[str] = ()) -> tuple[Path, File]:
    """Find a weights file of the catalogue in torch's hub cache or in the mirror, or download it into the hub cache.

    Args:
        name: weights of the catalogue.
        layers: layers whose features a loss compares. A file of another network is used only if the catalogue has their factors.

    Returns:
        The path, and the entry of the catalogue.

    Raises:
        WeightsUnavailable: no file was found. The message has every searched place.
    """
    files, hub = [file for file in WEIGHTS[name].files if file.provides(layers)], Path(torch.hub.get_dir()) / "checkpoints"
    local = local_path(mirror()) if mirror() else None
    folders = [hub, local / "weights"] if local else [hub]
    for path, file in ((folder / file.name, file) for folder in folders for file in files):
        if path.is_file():
            if file.matches(path):
                return path, file
            log.warning("%s: its SHA-256 does not start with %s. It is not used, delete it", path, file.sha256[:8])
    searched, reasons = list(map(str, folders)), list[str]()
    for file in files:
        urls = tuple(url for url in (in_mirror(f"weights/{file.name}"), *file.urls) if not local_path(url))
        searched += urls
        try:
            if urls:
                transfer({hub / file.name: replace(file, urls=urls)}, file.name)
                return hub / file.name, file
        except (TransferError, OSError) as error:
            reasons.append(str(error))
    raise WeightsUnavailable(
        f"weights '{name}': none of {', '.join(file.name for file in files)} was found (searched: {', '.join(searched)}, "
        f"{'; '.join(reasons)}). Put one of these files in one of these folders, or set SRGAN_MIRROR{_advice(name, layers)}"
    )


def _advice(name: str, layers: Collection[str]) -> str:
    """Return the layers with which other files of the network could be used."""
    others = [file for file in WEIGHTS[name].files if not file.provides(layers)]
    return "".join(f". {file.name} is enough for the layers {', '.join(file.factors)} alone" for file in others)


def load_weights(name: str) -> dict[str, Tensor]:
    """Return the state dict of a network of the catalogue on the CPU. See `find_weights`."""
    return read_weights(weights_path(name))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of weights on the CPU."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
