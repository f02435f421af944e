"""Pre-trained networks that score or guide: found in torch's cache or in the mirror, or downloaded."""

import logging
from pathlib import Path

import torch
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
    """Find a weights file of the catalogue: in torch's hub cache, in the mirror, or by download into that cache.

    Raises:
        WeightsUnavailable: naming the file and every place that was searched.
    """
    entry = WEIGHTS[name]
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    mirror = places.mirror()
    local = places.local(mirror) if mirror else None
    folders = [hub, *([local / "weights"] if local else [])]
    for folder in folders:
        for file in entry.files:
            path = folder / file.name
            if path.is_file():
                if sha256(path).startswith(file.sha256):
                    return path
                log.warning("%s: its SHA-256 does not begin with %s...; not used, delete it", path, file.sha256[:8])
    searched, reasons = list(map(str, folders)), []
    for file in entry.files:
        remote = [places.join(mirror, f"weights/{file.name}")] if mirror and not local else []
        urls = (*remote, *(url for url in file.urls if "://" in url))
        if not urls:
            continue
        searched += urls
        try:
            transfer([Job(urls, hub / file.name, file.size, file.sha256)], file.name)
            return hub / file.name
        except (TransferError, OSError) as error:
            reasons.append(str(error))
    raise WeightsUnavailable(
        f"weights '{name}': none of {', '.join(file.name for file in entry.files)} was found (searched: {', '.join(searched)}; "
        f"{'; '.join(reasons)}); put one of these files in one of these folders, or set SRGAN_MIRROR"
    )


def load_weights(name: str) -> dict[str, Tensor]:
    """The state dict of a network of the catalogue, on the CPU; see `weights_path`."""
    path = weights_path(name)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
