"""Bring data sets here, verified before anything uses them.

Tried in order: the mirror (``SRGAN_MIRROR``, a folder or an address, laid out as ``datasets/NAME/``), then the addresses of the
catalogue. A mirror that is an address lists its images in ``MANIFEST.sha256``, as ``sha256sum`` writes it. Downloads are kept in
``SRGAN_CACHE`` (default ``~/.cache/srgan``).
"""

import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from srgan.data import layouts
from srgan.data.download import places
from srgan.data.download.archives import BadArchive, is_archive, unpack
from srgan.data.download.catalog import DataSet, Source, Split
from srgan.data.download.checksums import Checksums, digest_of
from srgan.data.download.http import Job, TransferError, transfer
from srgan.data.left_out import LeftOut
from srgan.data.names import SafePaths, safe_path
from srgan.data.walk import images_below, is_image, of_split, why_not
from srgan.images.read import SUFFIXES
from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import copy, sha256

MANIFEST = "MANIFEST.sha256"

log = logging.getLogger(__name__)


def fetch_data_set(
    entry: DataSet, split: Split, folder: Path, checksums: Checksums, left_out: LeftOut | None = None
) -> list[dict[str, Any]]:
    """Bring one split of a data set into `folder`, which does not exist yet.

    Args:
        entry: the data set.
        split: which part of it.
        folder: its images get names there that every tool accepts, see `srgan.data.names`.
        checksums: what former downloads held.
        left_out: gets the files that are not part of the set.

    Returns:
        A record per image: `file` (path below `folder`), `sha256`, `group`, `licence`; of a set that brings its own LR images also `name`
        (the path without what says HR) and `lr`, a list of `file`, `sha256` and `scale` (0: not stated).

    Raises:
        SrganError: no source has it whole and unchanged; the message names each.
    """
    left_out = left_out or LeftOut()
    if entry.package:
        records = _from_package(entry, split, folder)
        log.info("data set %s: %d %s images from the package %s", entry.name, len(records), split, entry.package)
        return records
    if entry.folder:
        found = of_split(entry.folder, images_below(entry.folder, left_out), split, left_out)
        if not found:
            raise SrganError(
                f"data set '{entry.name}': no images in {entry.folder} for data.{split} ({', '.join(SUFFIXES)}){_summary(left_out)}"
            )
        _copy(found, entry.folder, folder)
        records = _records(entry, folder, left_out)
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, entry.folder)
        return records
    reasons, kind = [], SrganError
    for place, source, bring in _ways(entry, split):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            tried = LeftOut()
            bring(folder, tried)
            records = _records(entry, folder, tried)
            expected = entry.counts.get(split, len(records) or 1)
            if len(records) != expected:
                raise SrganError(f"holds {len(records)} images, expected {expected}{_summary(tried)}")
            found = [record["sha256"] for record in records]
            if source and source.images and digest_of(found) != source.images:
                raise SrganError(f"holds other images than published (digest {digest_of(found)[:12]}..., expected {source.images[:12]}...)")
            known = _check(entry, split, records, checksums)
        except SrganError as error:
            log.warning("data set %s: not from %s: %s", entry.name, place, error)
            reasons.append(f"{place}: {error}")
            kind = Unreachable if isinstance(error, Unreachable) else kind
            for file in (file for each in ((source,) if source else entry.sources[split]) for file in each.files if not file.sha256):
                shutil.rmtree(places.kept(file.urls[0]), ignore_errors=True)  # without a published digest it may differ the next time
            continue
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, place)
        if place.startswith("http://") and not known and not (source and source.verified):
            log.warning(
                "data set %s: it came over plain http, and there is no published digest to check it with; compare %s with that of another "
                "network before you trust it",
                entry.name,
                checksums.path,
            )
        left_out.join(tried)
        return records
    hint = "put it under $SRGAN_MIRROR/datasets" if entry.counts else "check the address"
    raise kind(f"failed to fetch data set '{entry.name}': {'; '.join(reasons)}; {hint}, then run the same command again")


def _check(entry: DataSet, split: Split, records: list[dict[str, Any]], checksums: Checksums) -> bool:
    """Compare with the first download. Returns whether all of it was known."""
    if entry.counts:
        return checksums.check(f"{entry.name}/{split}", [record["sha256"] for record in records])
    known = True
    for file in entry.sources[split][0].files:  # the user's own: each address for itself, so that one more changes nothing
        if not places.local(file.urls[0]):
            whole, name = is_archive(file.name), safe_path(file.name)
            images = [record["sha256"] for record in records if whole or record["file"] == name]
            known = checksums.check(file.urls[0], images) and known
    return known


# -- where images come from ------------------------------------------------------------------------------------------------


def _ways(entry: DataSet, split: Split) -> Iterator[tuple[str, Source | None, Callable[[Path, LeftOut], None]]]:
    """Every way to get a split, in order: a name for it, its source (None: the mirror), and what puts the images into a folder."""
    mirror = places.mirror()
    if mirror and entry.counts:  # a user's own set may have any name
        yield f"{without_secrets(mirror)}/datasets/{entry.name}", None, partial(_from_mirror, mirror, entry, split)
    for source in entry.sources[split]:
        first = without_secrets(source.files[0].urls[0])
        yield first if len(source.files) == 1 else f"{first} and so on", source, partial(_from_source, entry, split, source)


def _from_mirror(mirror: str, entry: DataSet, split: Split, folder: Path, left_out: LeftOut) -> None:
    """Unpacked images under ``datasets/NAME/``, in subfolders where the set has splits; else the archives, by their names."""
    base, subfolders = f"datasets/{entry.name}", entry.folders.get(split, ("",))
    local = places.local(mirror)
    if local and not local.is_dir():
        raise SrganError(f"{local} is no folder; correct SRGAN_MIRROR")
    listed = _manifest(mirror)
    if local:
        roots = [local / base / sub for sub in subfolders]
        found = [path for root in roots if root.is_dir() for path in images_below(root)]
        for path, copied in _copy(found, local / base, folder).items():
            _verify(copied, listed.get(path.relative_to(local).as_posix(), ""))
    else:
        prefixes = tuple(f"{base}/{sub}/" if sub else f"{base}/" for sub in subfolders)
        found = [name for name in listed if name.startswith(prefixes) and is_image(name)]
        images = {name.removeprefix(f"{base}/"): ((places.join(mirror, name),), 0, listed[name]) for name in found}
        _bring_images(images, folder, entry.name)
    if found:
        return
    for source in entry.sources[split]:
        if all(is_archive(file.name) for file in source.files):
            try:
                _from_source(entry, split, source, folder, left_out, mirror=places.join(mirror, base))
            except TransferError:
                continue
            return
    raise SrganError("it is not there")


def _from_source(entry: DataSet, split: Split, source: Source, folder: Path, left_out: LeftOut, mirror: str = "") -> None:
    """Archives, to be unpacked, or images; from their addresses or, if `mirror` is given, from there under the same names."""
    own, safe = not entry.counts, SafePaths()

    def wanted(path: str) -> str | None:
        reason = why_not(path)
        if reason and own:  # what an archive of the catalogue holds beside the images is known
            left_out.add(reason, path)
        return safe(path) if not reason and any(fnmatchcase(path, pattern) for pattern in source.inside) else None

    jobs, images = [], {}
    for file in source.files:
        urls = (places.join(mirror, file.name),) if mirror else file.urls
        if is_archive(file.name):
            jobs.append(Job(urls, places.kept(file.urls[0]) / safe_path(file.name), file.size, file.sha256))
        else:
            images[file.name] = (urls, file.size, file.sha256)
    _bring_images(images, folder, entry.name)
    # What is a file on this machine need not be brought here first.
    transfer([job for job in jobs if not places.local(job.urls[0])], entry.name)
    for job in jobs:
        archive = places.local(job.urls[0])
        try:
            if archive:
                if not archive.is_file():
                    raise TransferError(f"{archive}: no such file")
                _verify(archive, job.sha256)
            unpack(archive or job.path, folder, wanted, left_out)
        except BadArchive:
            if not archive:
                job.path.unlink()  # else it would be found again
            raise
    if own:
        found = images_below(folder)
        for path in set(found) - set(of_split(folder, found, split, left_out)):
            path.unlink()
    if not entry.hr:  # else the user names folders as they are in the archive
        _hoist(folder)


def _bring_images(images: dict[str, tuple[tuple[str, ...], int, str]], folder: Path, title: str) -> None:
    """Images by name -> addresses, size and SHA-256: into the cache, where an interrupted transfer can go on, and from there copied."""
    kept = {name: places.kept(urls[0]) / safe_path(PurePosixPath(name).name) for name, (urls, _, _) in images.items()}
    transfer([Job(urls, kept[name], size, checksum) for name, (urls, size, checksum) in images.items()], title)
    safe = SafePaths()
    for name, path in kept.items():
        target = folder / safe(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(path, target)


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
        copy(path, folder / photo.file)
        records.append({"file": photo.file, "sha256": photo.sha256, "group": photo.group, "licence": photo.licence})
    return records


def _manifest(mirror: str) -> dict[str, str]:
    """A mirror's own list of its files: path -> SHA-256; empty if it has none."""
    local = places.local(mirror)
    try:
        if local:
            text = (local / MANIFEST).read_text(encoding="utf-8", errors="replace")
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / MANIFEST
                transfer([Job((places.join(mirror, MANIFEST),), path)], MANIFEST)
                text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, TransferError):
        return {}
    lines = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(\S.*)", line) for line in text.splitlines())
    listed = {line[2]: line[1] for line in lines if line}
    # A mirror is a stranger too: no name may lead out of the folder that it is to fill.
    return {name: checksum for name, checksum in listed.items() if not {"..", ""} & set(name.split("/")) and "\\" not in name}


# -- what becomes of them ------------------------------------------------------------------------------------------------


def _records(entry: DataSet, folder: Path, left_out: LeftOut) -> list[dict[str, Any]]:
    """Pair the images in `folder`, and describe them; those outside of the folders that the user named are removed."""
    paths = [path.relative_to(folder).as_posix() for path in images_below(folder)]
    try:
        pairs, outside = layouts.find_pairs(paths, entry.hr, entry.lr)
        if not (entry.counts or entry.hr or any(pair.lr for pair in pairs)):
            layouts.refuse_unnamed_pairs(folder, paths, str(entry.folder or "..."))
    except SrganError as error:
        raise SrganError(f"data set '{entry.name}': {error}") from error
    for path in outside:
        left_out.add("outside of the folders that params.yaml names as hr and lr", path)
        (folder / path).unlink()
    found = []
    for pair in pairs:
        record: dict[str, Any] = {"file": pair.hr, "sha256": sha256(folder / pair.hr), "group": "", "licence": entry.licence}
        if pair.lr:
            lr_images = [{"file": path, "sha256": sha256(folder / path), "scale": scale} for scale, path in sorted(pair.lr.items())]
            record |= {"name": pair.name, "lr": lr_images}
        found.append(record)
    return found


def _summary(left_out: LeftOut) -> str:
    """``; left out: 3 hidden, 2 ...``, or nothing."""
    return "; left out: " + ", ".join(f"{count} ({reason})" for reason, count in left_out.counts.items()) if left_out.counts else ""


def _hoist(folder: Path) -> None:
    """Drop the folders that an archive puts around all of its images."""
    parents = [path.parent for path in images_below(folder)]
    if not parents:
        return
    top = Path(os.path.commonpath(parents))
    if top != folder:
        aside = folder.with_name(f"{folder.name}.tmp")
        top.replace(aside)
        shutil.rmtree(folder)
        aside.replace(folder)


def _copy(paths: list[Path], root: Path, folder: Path) -> dict[Path, Path]:
    """Copy images from `root` to `folder`, under safe names. Returns which became which."""
    safe = SafePaths()
    targets = {path: folder / safe(path.relative_to(root).as_posix()) for path in paths}
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(path, target)
    return targets


def _verify(path: Path, expected: str) -> None:
    """Compare a file with its SHA-256, or the first digits of it; an empty one is nothing to compare with."""
    if expected and not (actual := sha256(path)).startswith(expected):
        raise SrganError(f"{path} has SHA-256 {actual[:12]}..., expected {expected[:12]}...")
