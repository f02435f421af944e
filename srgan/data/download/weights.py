"""Pre-trained networks for losses and metrics: found in torch's cache or in the mirror, or downloaded."""

import logging
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from srgan.data.download.catalog import WEIGHTS, in_mirror, local_path, mirror
from srgan.data.download.http import TransferError, transfer
from srgan.utils.errors import SrganError

log = logging.getLogger(__name__)


class WeightsUnavailable(SrganError):
    """Pre-trained weights that are neither on this machine nor can be downloaded."""


def weights_path(name: str) -> Path:
    """Find a weights file of the catalogue in torch's hub cache or in the mirror, or download it into the hub cache.

    Raises:
        WeightsUnavailable: no file was found. The message has every searched place.
    """
    files, hub = WEIGHTS[name].files, Path(torch.hub.get_dir()) / "checkpoints"
    local = local_path(mirror()) if mirror() else None
    folders = [hub, local / "weights"] if local else [hub]
    for path, file in ((folder / file.name, file) for folder in folders for file in files):
        if path.is_file():
            if file.matches(path):
                return path
            log.warning("%s: its SHA-256 does not start with %s. It is not used, delete it", path, file.sha256[:8])
    searched, reasons = list(map(str, folders)), list[str]()
    for file in files:
        urls = tuple(url for url in (in_mirror(f"weights/{file.name}"), *file.urls) if not local_path(url))
        searched += urls
        try:
            if urls:
                transfer({hub / file.name: replace(file, urls=urls)}, file.name)
                return hub / file.name
        except (TransferError, OSError) as error:
            reasons.append(str(error))
    raise WeightsUnavailable(
        f"weights '{name}': none of {', '.join(file.name for file in files)} was found (searched: {', '.join(searched)}, "
        f"{'; '.join(reasons)}). Put one of these files in one of these folders, or set SRGAN_MIRROR"
    )


def load_weights(name: str) -> dict[str, Tensor]:
    """Return the state dict of a network of the catalogue on the CPU. See `weights_path`."""
    path = weights_path(name)
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
