"""Download data sets and verify them before use.

Sources in order: the mirror (``SRGAN_MIRROR``, a folder or an address with ``datasets/NAME/``), then the addresses of the catalogue.
A mirror that is an address lists its images in ``MANIFEST.sha256``, in the format of ``sha256sum``. Downloads stay in the cache.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from srgan.data import layouts
from srgan.data.download.archives import is_archive, unpack
from srgan.data.download.catalog import DataSet, File, Source, Split, in_mirror, local_path, mirror
from srgan.data.download.http import TransferError, transfer
from srgan.data.left_out import LeftOut
from srgan.data.names import SafePaths, safe_path
from srgan.data.walk import OTHER_SPLIT, images_below, is_image, of_split, why_not
from srgan.images.read import SUFFIXES
from srgan.utils.addresses import without_secrets
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import copy, digest, write_json

MANIFEST = "MANIFEST.sha256"
Record = dict[str, Any]

log = logging.getLogger(__name__)


class Checksums:
    """A file under version control that maps ``NAME/SPLIT``, or the address of a user's file, to the digest of its images.

    Later downloads, on any machine, must match the first. Addresses are written without password and query.

    Raises:
        SrganError: the file is not valid.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.added = path, dict[str, str]()
        try:
            self.stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self.known = {without_secrets(key): str(value) for key, value in self.stored.items()}  # former versions wrote whole addresses
        except (ValueError, AttributeError) as error:
            raise SrganError(f"{path}: not valid JSON ({error}). Restore it with git, or delete it") from error

    def check(self, key: str, images: list[str]) -> bool:
        """Compare the SHA-256 of a data set's images with the recorded digest, or record it. Return True if there was one.

        Raises:
            SrganError: the images differ from those of the first download.
        """
        key, actual = without_secrets(key), digest_of(images)
        if key not in self.known:
            self.added[key] = actual
        elif actual != self.known[key]:
            advice = f"If the new ones are right, delete that line of {self.path}"
            raise SrganError(f"{key}: these images are not those of the first download (digest {actual[:12]}...). {advice}")
        return key in self.known

    def save(self) -> None:
        """Write new digests."""
        if self.known | self.added != self.stored:
            write_json(self.path, dict(sorted((self.known | self.added).items())))
        if self.known.keys() != self.stored.keys():
            log.warning("%s: removed passwords and tokens from addresses. Commit it, and replace those that others could read", self.path)
        if self.added:
            log.info("%s: recorded %s. Commit this file", self.path, ", ".join(sorted(self.added)))


def digest_of(images: list[str]) -> str:
    """Return the digest of a data set from the SHA-256 of its images. Names and order do not change it."""
    return digest(sorted(images))


def fetch_data_set(entry: DataSet, split: Split, folder: Path, checksums: Checksums, left_out: LeftOut) -> list[Record]:
    """Write the images of one split of a data set to a new folder, under names that are safe for every tool.

    `left_out` counts the files that are not part of the set.

    Returns:
        A record per image: `file` (path below `folder`), `sha256`, `group`, `licence`. If the set has its own LR images, also `name`
        (the path without the mark of the HR side) and `lr`, a list of `file`, `sha256` and `scale` (0 if not stated).

    Raises:
        SrganError: no source has the whole, unchanged set. The message has the reason for each source.
    """
    reasons, published = list[str](), entry.sources.get(split, ())
    kind: type[SrganError] = SrganError
    for source in [_of_folder(entry, split, left_out)] if entry.folder else [*_of_mirror(entry, split), *published]:
        tried = LeftOut()
        try:
            records = _fetch(entry, split, source, folder, tried)
            known = _compare(entry, split, source, records, checksums, tried)
        except SrganError as error:
            if entry.folder:
                raise SrganError(f"data set '{entry.name}': {error}") from error
            reasons.append(f"{source.place}: {error}")
            log.warning("data set %s: not from %s", entry.name, reasons[-1])
            kind = Unreachable if isinstance(error, Unreachable) else kind
            for file in source.files:
                if not file.sha256:  # the next download may differ
                    shutil.rmtree(_cached(file).parent, ignore_errors=True)
            continue
        log.info("data set %s: %d %s images from %s", entry.name, len(records), split, source.place)
        if source.place.startswith("http://") and not known and not (source in published and source.verified):
            advice = f"Compare {checksums.path} with that of another network before you trust it"
            log.warning("data set %s: downloaded over plain http without a published digest. %s", entry.name, advice)
        left_out.join(tried)
        return records
    advice = "Put it under $SRGAN_MIRROR/datasets" if entry.counts else "Check the address"
    advice = f"Reinstall {entry.packages}" if entry.packages else advice
    raise kind(f"failed to fetch data set '{entry.name}': {'; '.join(reasons)}. {advice}, then run the same command again")


def _compare(entry: DataSet, split: Split, source: Source, records: list[Record], checksums: Checksums, left_out: LeftOut) -> bool:
    """Compare the images with the published digest and with the first download. Return True if all of them were known."""
    images = [record["sha256"] for record in records]
    if source.images and digest_of(images) != source.images:
        raise SrganError(f"holds other images than published (digest {digest_of(images)[:12]}..., expected {source.images[:12]}...)")
    if entry.packages:
        return True
    groups = {f"{entry.name}/{split}": images} if entry.counts else {}
    part = f" ({split})" if OTHER_SPLIT in left_out.counts else ""  # an archive with both splits has a digest for each
    for file in source.files:
        if not entry.counts and not file.local:  # of the user: one key an address, so a new address does not change the others
            name = safe_path(file.name)
            groups[file.urls[0] + part] = [record["sha256"] for record in records if is_archive(name) or record["file"] == name]
    new = [key for key, group in groups.items() if not checksums.check(key, group)]
    return not new


def _of_folder(entry: DataSet, split: Split, left_out: LeftOut) -> Source:
    """Return a user's folder as a source."""
    assert entry.folder
    found = of_split(entry.folder, images_below(entry.folder, left_out), split, left_out)
    if not found:
        suffixes = ", ".join(SUFFIXES)
        raise SrganError(f"data set '{entry.name}': no images in {entry.folder} for data.{split} ({suffixes}){left_out.summary()}")
    files = (File((path.absolute().as_uri(),), path=path.relative_to(entry.folder).as_posix()) for path in found)
    return Source(tuple(files), label=str(entry.folder))


def _of_mirror(entry: DataSet, split: Split) -> list[Source]:
    """Return the images under ``datasets/NAME/`` of the mirror, or else its copies of the catalogue's files."""
    if not mirror() or entry.packages or not entry.counts:
        return []
    base, listed, local = f"datasets/{entry.name}", _manifest(), local_path(mirror())
    names = [path.relative_to(local).as_posix() for path in images_below(local / base)] if local else filter(is_image, listed)
    folders = tuple(f"{base}/{inner}/" for inner in entry.folders.get(split, ())) or f"{base}/"
    files = [File((in_mirror(name),), 0, listed.get(name, ""), name.removeprefix(f"{base}/")) for name in names if name.startswith(folders)]
    # A folder of the mirror may have more images than the catalogue names.
    named = {file.name for source in entry.sources[split] for file in source.files}
    if named and named <= {file.path for file in files}:
        files = [file for file in files if file.path in named]
    if files:
        return [Source(tuple(files), label=without_secrets(f"{mirror()}/{base}"))]
    copies = []
    for source in entry.sources[split]:
        files = [replace(file, urls=(in_mirror(f"{base}/{file.name}"),)) for file in source.files]
        copies.append(replace(source, files=tuple(files)))
    return copies


def _manifest() -> dict[str, str]:
    """Return the mirror's list of files, path -> SHA-256. A mirror without one has an empty list."""
    local = local_path(mirror())
    with tempfile.TemporaryDirectory() as folder, suppress(FileNotFoundError, NotADirectoryError, TransferError):
        path = (local or Path(folder)) / MANIFEST
        transfer({} if local else {path: File((in_mirror(MANIFEST),))}, MANIFEST)
        listed = re.findall(r"^([0-9a-f]{64}) [ *](?:\./)?(\S.*)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        # The mirror is untrusted: a name must not lead out of the destination.
        return {name: checksum for checksum, name in listed if not {"..", ""} & set(name.split("/")) and "\\" not in name}
    return {}


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
    paths = {file: file.local or _cached(file) for file in source.files}
    transfer({path: file for file, path in paths.items() if not file.local}, entry.name)
    for file, path in paths.items():
        if not path.is_file():
            raise SrganError(f"{path}: no such file")
        if file.local and not file.matches(path):
            raise SrganError(f"{path}: its SHA-256 is not {file.sha256[:12]}...")
        if is_archive(file.name):
            unpack(path, folder, wanted, left_out)
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


def _cached(file: File) -> Path:
    """Return the path of a download in the cache. Its folder depends on the address only, so data sets share archives."""
    return cache_folder() / digest(file.urls[0])[:12] / safe_path(PurePosixPath(file.name).name)


def _remove_common_folders(folder: Path) -> None:
    """Move the images up if an archive has one folder around all of them."""
    parents = [path.parent for path in images_below(folder)]
    top = Path(os.path.commonpath(parents)) if parents else folder
    if top != folder:
        aside = folder.with_name(f"{folder.name}.tmp")
        top.replace(aside)
        shutil.rmtree(folder)
        aside.replace(folder)
