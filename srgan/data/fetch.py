"""Bring data sets and weights here, verified before anything uses them.

Tried in order: the mirror (``SRGAN_MIRROR``, a folder or an address, laid out as ``datasets/NAME/`` and ``weights/FILE``), then
the addresses of the catalogue. A mirror that is an address lists its images in ``MANIFEST.sha256``, as ``sha256sum`` writes it.
Downloads are kept in ``SRGAN_CACHE`` (default ``~/.cache/srgan``).
"""

import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from srgan.data.catalog import WEIGHTS, DataSet, Source, Split
from srgan.data.images import SUFFIXES
from srgan.data.transfer import Job, TransferError, transfer
from srgan.data.unpack import BadArchive, is_archive, unpack
from srgan.errors import SrganError, Unreachable
from srgan.files import digest, sha256, write_json

if TYPE_CHECKING:
    import torch

CHECKSUMS = Path("checksums.json")
MANIFEST = "MANIFEST.sha256"

log = logging.getLogger(__name__)


class WeightsUnavailable(SrganError):
    """Pre-trained weights that are neither here nor can be brought here."""


class Checksums:
    """What the first download of each data set held, in a file that belongs under version control; later ones must match.

    The file maps ``NAME/SPLIT`` (or the address, of a user's own) to the digest of the sorted SHA-256 of its images: the same images
    are the same set, however they are called and packed.
    """

    def __init__(self, path: Path = CHECKSUMS) -> None:
        self.path = path
        try:
            self.known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if not isinstance(self.known, dict) or not all(isinstance(value, str) for value in self.known.values()):
                raise ValueError("not a table of digests")
        except ValueError as error:
            raise SrganError(f"{path}: not valid JSON ({error}); restore it with git, or delete it") from error
        self.added: dict[str, str] = {}

    def check(self, key: str, images: list[str]) -> None:
        """Compare with what is known, or remember it."""
        actual = digest(sorted(images))
        expected = self.known.get(key)
        if expected is None:
            self.added[key] = actual
        elif actual != expected:
            raise SrganError(
                f"{key}: these images are not those of the first download (digest {actual[:12]}..., {self.path} has {expected[:12]}...); "
                f"if the new ones are right, delete that line of {self.path}"
            )

    def save(self) -> None:
        """Write what was added."""
        if self.added:
            write_json(self.path, dict(sorted((self.known | self.added).items())))
            log.info("%s: recorded %s; commit this file", self.path, ", ".join(sorted(self.added)))


def fetch_data_set(entry: DataSet, split: Split, folder: Path, checksums: Checksums) -> list[dict[str, str]]:
    """Bring one split of a data set into `folder`, which does not exist yet.

    Returns:
        A record per image: `file` (path below `folder`), `sha256`, `group`, `licence`; of a set that brings its own LR images, `lr` and
        `lr_sha256` too.

    Raises:
        SrganError: no source has it whole and unchanged; the message tells of each.
    """
    if entry.package:
        records = _from_package(entry, split, folder)
        log.info("data set %s: %d %s images from the package %s", entry.name, len(records), split, entry.package)
        return records
    if entry.folder:
        _copy(_of_split(entry.folder, split), entry.folder, folder)
        records = _records(entry, folder)
        if not records:
            raise SrganError(f"data set '{entry.name}': no images in {entry.folder} ({', '.join(SUFFIXES)})")
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, entry.folder)
        return records
    reasons, kind = [], SrganError
    for place, sources, bring in _ways(entry, split):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            bring(folder)
            records = _records(entry, folder)
            expected = entry.counts.get(split, len(records) or 1)
            if len(records) != expected:
                raise SrganError(f"holds {len(records)} images, expected {expected}")
            _check(entry, split, records, checksums)
        except SrganError as error:
            log.warning("data set %s: not from %s: %s", entry.name, place, error)
            reasons.append(f"{place}: {error}")
            kind = Unreachable if isinstance(error, Unreachable) else kind
            for file in (file for source in sources for file in source.files if not file.sha256):
                shutil.rmtree(_kept(file.urls[0]), ignore_errors=True)  # nothing vouches for it: it may be another the next time
            continue
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, place)
        return records
    hint = "put it under $SRGAN_MIRROR/datasets" if entry.counts else "check the address"
    raise kind(f"data set '{entry.name}' could not be had: {'; '.join(reasons)}; {hint}, then run the same command again")


def _check(entry: DataSet, split: Split, records: list[dict[str, str]], checksums: Checksums) -> None:
    if entry.counts:
        checksums.check(f"{entry.name}/{split}", [record["sha256"] for record in records])
        return
    for file in entry.sources[split][0].files:  # the user's own: each address for itself, so that one more changes nothing
        if not _local(file.urls[0]):
            whole = is_archive(file.name)
            checksums.check(file.urls[0], [record["sha256"] for record in records if whole or record["file"] == file.name])


# -- where images come from ------------------------------------------------------------------------------------------------


def _ways(entry: DataSet, split: Split) -> Iterator[tuple[str, tuple[Source, ...], Callable[[Path], None]]]:
    """Every way to get a split, in order: a name for it, what may be downloaded for it, and what puts the images into a folder."""
    mirror = _mirror()
    if mirror and entry.counts:  # a user's own set may bear any name
        yield f"{mirror}/datasets/{entry.name}", entry.sources[split], partial(_from_mirror, mirror, entry, split)
    for source in entry.sources[split]:
        first = source.files[0].urls[0]
        yield first if len(source.files) == 1 else f"{first} and so on", (source,), partial(_from_source, entry, split, source)


def _from_mirror(mirror: str, entry: DataSet, split: Split, folder: Path) -> None:
    """Unpacked images under ``datasets/NAME/``, in subfolders where the set has splits; else the archives, by their names."""
    base, subfolders = f"datasets/{entry.name}", entry.folders.get(split, ("",))
    local = _local(mirror)
    if local and not local.is_dir():
        raise SrganError(f"{local} is no folder; correct SRGAN_MIRROR")
    listed = _manifest(mirror)
    if local:
        roots = [local / base / sub for sub in subfolders]
        found = [path for root in roots if root.is_dir() for path in _images_below(root)]
        _copy(found, local / base, folder)
        for path in found:
            _verify(folder / path.relative_to(local / base), listed.get(path.relative_to(local).as_posix(), ""))
    else:
        prefixes = tuple(f"{base}/{sub}/" if sub else f"{base}/" for sub in subfolders)
        found = [name for name in listed if name.startswith(prefixes) and _is_image(name)]
        _bring_images({name.removeprefix(f"{base}/"): ((_join(mirror, name),), 0, listed[name]) for name in found}, folder, entry.name)
    if found:
        return
    for source in entry.sources[split]:
        if all(is_archive(file.name) for file in source.files):
            try:
                _from_source(entry, split, source, folder, mirror=_join(mirror, base))
            except TransferError:
                continue
            return
    raise SrganError("it is not there")


def _from_source(entry: DataSet, split: Split, source: Source, folder: Path, mirror: str = "") -> None:
    """Archives, to be unpacked, or images; from their addresses or, if `mirror` is given, from there under the same names."""

    def wanted(path: str) -> str | None:
        return path if _is_image(path) and any(fnmatchcase(path, pattern) for pattern in source.inside) else None

    jobs, images = [], {}
    for file in source.files:
        urls = (_join(mirror, file.name),) if mirror else file.urls
        if is_archive(file.name):
            jobs.append(Job(urls, _kept(file.urls[0]) / file.name, file.size, file.sha256))
        else:
            images[file.name] = (urls, file.size, file.sha256)
    _bring_images(images, folder, entry.name)
    # What is a file on this machine need not be brought here first.
    transfer([job for job in jobs if not _local(job.urls[0])], entry.name)
    for job in jobs:
        archive = _local(job.urls[0])
        try:
            if archive:
                if not archive.is_file():
                    raise TransferError(f"{archive}: no such file")
                _verify(archive, job.sha256)
            unpack(archive or job.path, folder, wanted)
        except BadArchive:
            if not archive:
                job.path.unlink()  # else it would be found again
            raise
    if not entry.counts:  # the user's own
        for path in set(_images_below(folder)) - set(_of_split(folder, split)):
            path.unlink()
    _hoist(folder)


def _bring_images(images: dict[str, tuple[tuple[str, ...], int, str]], folder: Path, title: str) -> None:
    """Images by name -> addresses, size and SHA-256: into the cache, where an interrupted transfer can go on, and from there copied."""
    kept = {name: _kept(urls[0]) / PurePosixPath(name).name for name, (urls, _, _) in images.items()}
    transfer([Job(urls, kept[name], size, checksum) for name, (urls, size, checksum) in images.items()], title)
    for name, path in kept.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _from_package(entry: DataSet, split: Split, folder: Path) -> list[dict[str, str]]:
    spec = importlib.util.find_spec(entry.package)
    if spec is None or spec.origin is None:
        raise SrganError(f"data set '{entry.name}' ships inside the package {entry.package}, which is not installed: pip install .")
    source = Path(spec.origin).parent / entry.package_folder
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for photo in (photo for photo in entry.photos if photo.split == split):
        path = source / photo.file
        if not path.is_file():
            raise SrganError(f"data set '{entry.name}': {path} is missing; reinstall the package {entry.package}")
        try:
            _verify(path, photo.sha256)
        except SrganError as error:
            raise SrganError(f"data set '{entry.name}': {error}; reinstall the package {entry.package}") from error
        shutil.copyfile(path, folder / photo.file)
        records.append({"file": photo.file, "sha256": photo.sha256, "group": photo.group, "licence": photo.licence})
    return records


def _manifest(mirror: str) -> dict[str, str]:
    """A mirror's own list of its files: path -> SHA-256; empty if it has none."""
    local = _local(mirror)
    try:
        if local:
            text = (local / MANIFEST).read_text(encoding="utf-8", errors="replace")
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / MANIFEST
                transfer([Job((_join(mirror, MANIFEST),), path)], MANIFEST)
                text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, TransferError):
        return {}
    lines = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(\S.*)", line) for line in text.splitlines())
    listed = {line[2]: line[1] for line in lines if line}
    # A mirror is a stranger too: no name may lead out of the folder that it is to fill.
    return {name: checksum for name, checksum in listed.items() if not {"..", ""} & set(name.split("/")) and "\\" not in name}


# -- small helpers ---------------------------------------------------------------------------------------------------------


def cache() -> Path:
    """Where downloads are kept: ``SRGAN_CACHE``, else ``srgan`` in the user's cache folder."""
    named = os.environ.get("SRGAN_CACHE")
    return Path(named).expanduser() if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srgan"


def _kept(url: str) -> Path:
    """The folder of the cache where a download is kept, by its address: several data sets may want one archive."""
    return cache() / digest(url)[:12]


def _mirror() -> str:
    mirror = os.environ.get("SRGAN_MIRROR", "")
    return mirror if "://" in mirror or not mirror else str(Path(mirror).expanduser())


def _records(entry: DataSet, folder: Path) -> list[dict[str, str]]:
    found = []
    for hr_path, lr_path in _pairs(entry, folder, _images_below(folder)):
        record = {"file": hr_path.relative_to(folder).as_posix(), "sha256": sha256(hr_path), "group": "", "licence": entry.licence}
        if lr_path:
            record |= {"lr": lr_path.relative_to(folder).as_posix(), "lr_sha256": sha256(lr_path)}
        found.append(record)
    return found


def _pairs(entry: DataSet, folder: Path, images: list[Path]) -> list[tuple[Path, Path | None]]:
    """HR images, with the LR images of a set that has them: in folders HR and LR, under one name, which may end in ``x4`` or so."""
    named = []
    for path in images:
        parents = path.relative_to(folder).parts[:-1]
        side = next((part.lower() for part in parents if part.lower() in ("hr", "lr")), "")
        named.append((side, "/".join([*(part for part in parents if part.lower() != side), path.stem]), path))
    if not {"hr", "lr"} <= {side for side, _, _ in named}:
        return [(path, None) for path in images]
    sides: dict[str, dict[str, Path]] = {"hr": {}, "lr": {}}
    for side, name, path in named:
        if not side:
            raise SrganError(f"data set '{entry.name}': {path.relative_to(folder)} lies beside the folders HR and LR; take it away")
        if name in sides[side]:
            raise SrganError(f"data set '{entry.name}': {sides[side][name].name} and {path.name} bear one name; rename one")
        sides[side][name] = path
    hr_paths, lr_paths = sides["hr"], sides["lr"]
    partners = {
        name: next((key for key in (name, *(f"{name}x{scale}" for scale in range(2, 9))) if key in lr_paths), "") for name in hr_paths
    }
    left = [hr_paths[name] for name, key in partners.items() if not key]
    left += [path for key, path in lr_paths.items() if key not in partners.values()]
    if left:
        raise SrganError(
            f"data set '{entry.name}': {left[0].relative_to(folder)} has no partner of that name in the other of the folders HR and LR"
        )
    return [(path, lr_paths[partners[name]]) for name, path in hr_paths.items()]


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _images_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and _is_image(path.relative_to(folder).as_posix()))


def _of_split(folder: Path, split: Split) -> list[Path]:
    """The images below a user's folder; if they lie in folders called train and test, only those of the split."""
    found = _images_below(folder)
    parents = {path: path.relative_to(folder).parts[:-1] for path in found}
    if any({"train", "test"} & set(parts) for parts in parents.values()):
        return [path for path in found if split in parents[path]]
    return found


def _hoist(folder: Path) -> None:
    """Drop the folders that an archive puts around all of its images."""
    parents = [path.parent for path in _images_below(folder)]
    if not parents:
        return
    top = Path(os.path.commonpath(parents))
    if top != folder:
        aside = folder.with_name(f"{folder.name}.tmp")
        top.replace(aside)
        shutil.rmtree(folder)
        aside.replace(folder)


def _copy(paths: list[Path], root: Path, folder: Path) -> None:
    for path in paths:
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _verify(path: Path, expected: str) -> None:
    """Compare a file with its SHA-256, or the first digits of it; an empty one is nothing to compare with."""
    if expected and not (actual := sha256(path)).startswith(expected):
        raise SrganError(f"{path} has SHA-256 {actual[:12]}..., expected {expected[:12]}...")


def _local(place: str) -> Path | None:
    """The path on this machine, if that is what a place is."""
    if place.startswith("file://"):
        return Path(urllib.parse.unquote(urllib.parse.urlparse(place).path))
    return None if "://" in place else Path(place)


def _join(mirror: str, name: str) -> str:
    local = _local(mirror)
    return (local / name).resolve().as_uri() if local else f"{mirror.rstrip('/')}/{urllib.parse.quote(name)}"


# -- weights ---------------------------------------------------------------------------------------------------------------


def weights_path(name: str) -> Path:
    """Find a weights file of the catalogue: in torch's hub cache, in the mirror, or by download into that cache.

    Raises:
        WeightsUnavailable: naming the file and every place that was searched.
    """
    import torch

    entry = WEIGHTS[name]
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    mirror = _mirror()
    local = _local(mirror) if mirror else None
    folders = [hub, *([local / "weights"] if local else [])]
    for folder in folders:
        for file in entry.files:
            path = folder / file.name
            if path.is_file():
                if sha256(path).startswith(file.sha256):
                    return path
                log.warning("%s: its SHA-256 does not begin with %s...; not used, delete it", path, file.sha256[:8])
    places, reasons = list(map(str, folders)), []
    for file in entry.files:
        remote = [_join(mirror, f"weights/{file.name}")] if mirror and not local else []
        urls = (*remote, *(url for url in file.urls if "://" in url))
        if not urls:
            continue
        places += urls
        try:
            transfer([Job(urls, hub / file.name, file.size, file.sha256)], file.name)
            return hub / file.name
        except (TransferError, OSError) as error:
            reasons.append(str(error))
    raise WeightsUnavailable(
        f"weights '{name}': none of {', '.join(file.name for file in entry.files)} could be had (searched: {', '.join(places)}; "
        f"{'; '.join(reasons)}); put one of these files in one of these folders, or set SRGAN_MIRROR"
    )


def load_weights(name: str) -> "dict[str, torch.Tensor]":
    """The state dict of a network of the catalogue, on the CPU; see `weights_path`."""
    import torch

    path = weights_path(name)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
