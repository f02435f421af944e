"""Bring data sets and weights here, verified before anything uses them."""

import http.client
import importlib.util
import logging
import os
import shutil
import urllib.request
from pathlib import Path

import torch
from tqdm import tqdm

from srgan.data.catalog import WEIGHTS, DataSet, Split, Weights
from srgan.errors import SrganError
from srgan.files import atomic_file, sha256

CONNECT_TIMEOUT = 5.0  # seconds, also for a silence in the middle of a transfer

log = logging.getLogger(__name__)


class WeightsUnavailable(SrganError):
    """Pre-trained weights that are neither here nor can be brought here."""


def fetch_data_set(entry: DataSet, split: Split, folder: Path) -> list[dict[str, str]]:
    """Copy one split of a data set to `folder`, each file checked against its SHA-256.

    Returns:
        A record per image: `file`, `sha256`, `group`, `licence`.
    """
    spec = importlib.util.find_spec(entry.package)
    if spec is None or spec.origin is None:
        raise SrganError(f"data set '{entry.name}' ships inside the package {entry.package}, which is not installed: pip install .")
    source = Path(spec.origin).parent / entry.folder
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for photo in (photo for photo in entry.photos if photo.split == split):
        path = source / photo.file
        if not path.is_file():
            raise SrganError(f"data set '{entry.name}': {path} is missing; reinstall the package {entry.package}")
        actual = sha256(path)
        if actual != photo.sha256:
            raise SrganError(
                f"data set '{entry.name}': {path} has SHA-256 {actual[:12]}..., expected {photo.sha256[:12]}...; "
                f"reinstall the package {entry.package}"
            )
        shutil.copyfile(path, folder / photo.file)
        records.append({"file": photo.file, "sha256": photo.sha256, "group": photo.group, "licence": photo.licence})
    return records


def weights_path(name: str) -> Path:
    """Find a weights file of the catalogue: in torch's hub cache, under ``SRGAN_MIRROR/weights``, or by download into that cache.

    Raises:
        WeightsUnavailable: naming the file and every place that was searched.
    """
    entry = WEIGHTS[name]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    mirror = os.environ.get("SRGAN_MIRROR")
    folders = [cache, *([Path(mirror) / "weights"] if mirror else [])]
    for folder in folders:
        for file, expected in entry.files.items():
            path = folder / file
            if path.is_file():
                if sha256(path).startswith(expected):
                    return path
                log.warning("%s: its SHA-256 does not begin with %s...; not used, delete it", path, expected[:8])
    try:
        return _download(entry, cache)
    except (OSError, http.client.HTTPException, ValueError) as error:
        places = ", ".join(map(str, [*folders, entry.url]))
        raise WeightsUnavailable(
            f"weights '{name}': none of {', '.join(entry.files)} could be had (searched: {places}; {error}); "
            "put one of these files in one of these folders, or set SRGAN_MIRROR"
        ) from error


def _download(entry: Weights, folder: Path) -> Path:
    file = entry.url.rsplit("/", 1)[1]
    path = folder / file
    with urllib.request.urlopen(entry.url, timeout=CONNECT_TIMEOUT) as response, atomic_file(path) as temporary:
        total = int(response.headers.get("Content-Length", 0)) or None
        log.info("downloading %s (%s)", entry.url, f"{total / 1e6:.0f} MB" if total else "size unknown")
        with temporary.open("wb") as out, tqdm(total=total, unit="B", unit_scale=True, desc=file, disable=None) as bar:
            while block := response.read(1 << 20):
                out.write(block)
                bar.update(len(block))
        actual = sha256(temporary)
        if not actual.startswith(entry.files[file]):
            raise OSError(f"what {entry.url} sent has SHA-256 {actual[:8]}..., expected {entry.files[file]}...")
    return path


def load_weights(name: str) -> dict[str, torch.Tensor]:
    """The state dict of a scoring network, on the CPU; see `weights_path`."""
    path = weights_path(name)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
