"""Pre-trained networks for losses and metrics: found in torch's cache or in the mirror, or downloaded."""

import logging
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from srgan.data.download import places
from srgan.data.download.catalog import WEIGHTS
from srgan.data.download.http import Job, TransferError, transfer
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256

log = logging.getLogger(__name__)


class WeightsUnavailable(SrganError):
    """Pre-trained weights that are neither on this machine nor can be downloaded."""


def weights_path(name: str) -> Path:
    """Find a weights file of the catalogue in torch's hub cache or in the mirror, or download it into the hub cache.

    Raises:
        WeightsUnavailable: no file was found. The message has every searched place.
    """
    files, hub, mirror = WEIGHTS[name].files, Path(torch.hub.get_dir()) / "checkpoints", places.mirror()
    local = places.local(mirror) if mirror else None
    folders = [hub, *([local / "weights"] if local else [])]
    searched, reasons = list(map(str, folders)), list[str]()
    for path in [folder / file.name for folder in folders for file in files if (folder / file.name).is_file()]:
        expected = next(file.sha256 for file in files if file.name == path.name)
        if sha256(path).startswith(expected):
            return path
        log.warning("%s: its SHA-256 does not start with %s. It is not used, delete it", path, expected[:8])
    for file in files:
        remote = [places.join(mirror, f"weights/{file.name}")] if mirror and not local else []
        urls = (*remote, *(url for url in file.urls if "://" in url))
        try:
            if urls:
                transfer([Job(urls, hub / file.name, file.size, file.sha256)], file.name)
                return hub / file.name
        except (TransferError, OSError) as error:
            reasons.append(str(error))
        searched += urls
    raise WeightsUnavailable(
        f"weights '{name}': none of {', '.join(file.name for file in files)} was found (searched: {', '.join(searched)}, "
        f"{'; '.join(reasons)}). Put one of these files in one of these folders, or set SRGAN_MIRROR"
    )


def load_weights(name: str) -> dict[str, Tensor]:
    """Return the state dict of a network of the catalogue on the CPU. See `weights_path`."""
    path = weights_path(name)
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
