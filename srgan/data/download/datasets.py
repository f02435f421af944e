"""Download data sets and verify them before use.

Sources in order: the mirror (``SRGAN_MIRROR``, a folder or an address with ``datasets/NAME/``), then the addresses of the catalogue.
A mirror that is an address lists its images in ``MANIFEST.sha256``, in the format of ``sha256sum``. Downloads stay in the cache.
"""

import logging
import os
import re
import shutil
import tempfile
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from srgan.data import layouts
from srgan.data.download import places
from srgan.data.download.archives import BadArchive, is_archive, unpack
from srgan.data.download.catalog import DataSet, File, Source, Split
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
Record = dict[str, Any]

log = logging.getLogger(__name__)


def fetch_data_set(entry: DataSet, split: Split, folder: Path, checksums: Checksums, left_out: LeftOut) -> list[Record]:
    """Write the images of one split of a data set to a new folder, under names that are safe for every tool.

    Args:
        entry: the data set.
        split: ``train`` or ``test``.
        folder: destination. It must not exist.
        checksums: digests of former downloads.
        left_out: counts the files that are not part of the set.

    Returns:
        A record per image: `file` (path below `folder`), `sha256`, `group`, `licence`. If the set has its own LR images, also `name`
        (the path without the mark of the HR side) and `lr`, a list of `file`, `sha256` and `scale` (0 if not stated).

    Raises:
        SrganError: no source has the whole, unchanged set. The message has the reason for each source.
    """
    reasons: list[str] = []
    kind: type[SrganError] = SrganError
    mirrored, published = _of_mirror(entry, split, reasons), entry.sources.get(split, ())
    for source in [_of_folder(entry, split, left_out)] if entry.folder else [*mirrored, *published]:
        tried = LeftOut()
        try:
            records = _fetch(entry, split, source, folder, tried)
            known = _compare(entry, split, source, records, checksums)
        except SrganError as error:
            if entry.folder:
                raise SrganError(f"data set '{entry.name}': {error}") from error
            log.warning("data set %s: not from %s: %s", entry.name, source.place, error)
            reasons.append(f"{source.place}: {error}")
            kind = Unreachable if isinstance(error, Unreachable) else kind
            for file in source.files:
                if not file.sha256:  # the next download may differ
                    shutil.rmtree(places.cached(file.urls[0]), ignore_errors=True)
            continue
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, source.place)
        if source.place.startswith("http://") and not known and not (source in published and source.verified):
            advice = f"Compare {checksums.path} with that of another network before you trust it"
            log.warning("data set %s: downloaded over plain http without a published digest. %s", entry.name, advice)
        left_out.join(tried)
        return records
    advice = "Put it under $SRGAN_MIRROR/datasets" if entry.counts else "Check the address"
    advice = f"Reinstall the package {entry.package}" if entry.package else advice
    raise kind(f"failed to fetch data set '{entry.name}': {'; '.join(reasons)}. {advice}, then run the same command again")


def _compare(entry: DataSet, split: Split, source: Source, records: list[Record], checksums: Checksums) -> bool:
    """Compare the images with the published digest and with the first download. Return True if all of them were known."""
    images = [record["sha256"] for record in records]
    if source.images and digest_of(images) != source.images:
        raise SrganError(f"holds other images than published (digest {digest_of(images)[:12]}..., expected {source.images[:12]}...)")
    if entry.package:
        return True
    groups = {f"{entry.name}/{split}": images}
    if not entry.counts:  # of the user: one key an address, so a new address does not change the others
        remote = [file for file in source.files if not places.local(file.urls[0])]
        groups = {file.urls[0]: [record["sha256"] for record in records if is_archive(file.name) or record["file"] == safe_path(file.name)]
                  for file in remote}  # fmt: skip
    found = [checksums.check(key, group) for key, group in groups.items()]  # before `all`, so that each is recorded
    return all(found)


# -- sources -----------------------------------------------------------------------------------------------------------------


def _of_folder(entry: DataSet, split: Split, left_out: LeftOut) -> Source:
    """Return a user's folder as a source."""
    assert entry.folder
    found = of_split(entry.folder, images_below(entry.folder, left_out), split, left_out)
    if not found:
        suffixes = ", ".join(SUFFIXES)
        raise SrganError(f"data set '{entry.name}': no images in {entry.folder} for data.{split} ({suffixes}){left_out.summary()}")
    files = (File((path.absolute().as_uri(),), path=path.relative_to(entry.folder).as_posix()) for path in found)
    return Source(tuple(files), label=str(entry.folder))


def _of_mirror(entry: DataSet, split: Split, reasons: list[str]) -> list[Source]:
    """Return the images under ``datasets/NAME/`` of the mirror, or else its copies of the catalogue's archives."""
    mirror = places.mirror() if entry.counts and not entry.package else ""
    if not mirror:
        return []
    base, local, listed = f"datasets/{entry.name}", places.local(mirror), _manifest(mirror)
    label = f"{without_secrets(mirror)}/{base}"
    folders = [f"{base}/{inner}".rstrip("/") for inner in entry.folders.get(split, ("",))]
    if local:
        names = [path.relative_to(local).as_posix() for folder in folders for path in images_below(local / folder)]
    else:
        names = [name for name in listed if is_image(name) and any(name.startswith(f"{folder}/") for folder in folders)]
    if names:
        files = [File((places.join(mirror, name),), 0, listed.get(name, ""), name.removeprefix(f"{base}/")) for name in names]
        return [Source(tuple(files), label=label)]
    copies = []
    for source in entry.sources[split]:
        files = [replace(file, urls=(places.join(mirror, f"{base}/{file.name}"),)) for file in source.files]
        if all(is_archive(file.name) and not (local and not (local / base / file.name).is_file()) for file in files):
            copies.append(replace(source, files=tuple(files)))
    if not copies:
        reasons.append(f"{label}: it is not there")
        log.warning("data set %s: not from %s", entry.name, reasons[-1])
    return copies


def _manifest(mirror: str) -> dict[str, str]:
    """Return a mirror's list of files, path -> SHA-256. A mirror without one has an empty list."""
    with tempfile.TemporaryDirectory() as folder:
        local = places.local(mirror)
        path = (local or Path(folder)) / MANIFEST
        try:
            if not local:
                transfer([Job((places.join(mirror, MANIFEST),), path)], MANIFEST)
        except TransferError:  # logged by `transfer`
            return {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    lines = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(\S.*)", line) for line in text.splitlines())
    listed = {line[2]: line[1] for line in lines if line}
    # The mirror is untrusted: a name must not lead out of the destination.
    return {name: checksum for name, checksum in listed.items() if not {"..", ""} & set(name.split("/")) and "\\" not in name}


# -- images of a source ------------------------------------------------------------------------------------------------------


def _fetch(entry: DataSet, split: Split, source: Source, folder: Path, left_out: LeftOut) -> list[Record]:
    """Download, unpack or copy the files of a source into `folder`, and return the records of its images."""
    own, safe, described = not entry.counts, SafePaths(), dict[str, File]()

    def wanted(path: str) -> str | None:
        reason = why_not(path)
        if reason and own:  # the other content of the catalogue's archives is known
            left_out.add(reason, path)
        return safe(path) if not reason and any(fnmatchcase(path, pattern) for pattern in source.inside) else None

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, path in _local_files(source.files, entry.name).items():
        if is_archive(file.name):
            try:
                unpack(path, folder, wanted, left_out)
            except BadArchive:
                if not places.local(file.urls[0]):
                    path.unlink()  # the next run must not find it
                raise
        else:
            target = safe(file.name)
            described[target] = file
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            copy(path, folder / target)
    if not described:
        found = images_below(folder)
        for path in set(found) - set(of_split(folder, found, split, left_out)) if own else ():
            path.unlink()
        if not entry.hr:  # else the user names folders as they are in the archive
            _remove_common_folders(folder)
    records = layouts.describe_images(entry, folder, described, left_out)
    expected = entry.counts.get(split, len(records) or 1)
    if len(records) != expected:
        raise SrganError(f"holds {len(records)} images, expected {expected}{left_out.summary()}")
    return records


def _local_files(files: tuple[File, ...], title: str) -> dict[File, Path]:
    """Return the verified local path of each file. Files of other machines are downloaded into the cache."""
    paths, jobs = {}, []
    for file in files:
        path = places.local(file.urls[0])
        if not path:
            path = places.cached(file.urls[0]) / safe_path(PurePosixPath(file.name).name)
            jobs.append(Job(file.urls, path, file.size, file.sha256))
        elif not path.is_file():
            raise SrganError(f"{path}: no such file")
        elif file.sha256 and not (actual := sha256(path)).startswith(file.sha256):
            raise SrganError(f"{path} has SHA-256 {actual[:12]}..., expected {file.sha256[:12]}...")
        paths[file] = path
    transfer(jobs, title)
    return paths


def _remove_common_folders(folder: Path) -> None:
    """Move the images up if an archive has one folder around all of them."""
    parents = [path.parent for path in images_below(folder)]
    top = Path(os.path.commonpath(parents)) if parents else folder
    if top != folder:
        aside = folder.with_name(f"{folder.name}.tmp")
        top.replace(aside)
        shutil.rmtree(folder)
        aside.replace(folder)
