"""Unpack images from untrusted zip and tar archives.

The data filter of `tarfile` does not fit: it accepts links and absolute paths. Neither it nor `zipfile` limits the unpacked size.
"""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

from srgan.data.left_out import LeftOut
from srgan.data.names import safe_path
from srgan.utils.errors import SrganError
from srgan.utils.files import DISK_FULL

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_ENTRIES = 1_000_000
MAX_DIRECTORY_BYTES = 32 << 20  # of a zip's list of entries, about 300,000. In memory it takes ten times as much
MAX_RATIO = 100  # unpacked to packed size. Photographs stay below 10, bombs exceed 1000
MIN_LIMIT_BYTES = 64 << 20  # unpacked, for any ratio
BLOCK = 1 << 20


class BadArchive(SrganError):
    """A damaged or malicious archive."""


def is_archive(name: str) -> bool:
    """Return True if `unpack` reads files with this name."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, wanted: Callable[[str], str | None], left_out: LeftOut) -> None:
    """Write the wanted files of a zip or tar archive, detected by its content, into an existing folder.

    `wanted` maps a file's path in the archive to its path below `folder`, or to None to omit it. `left_out` counts links, devices and
    names that are too long, which are not written.

    Raises:
        BadArchive: it is damaged or encrypted, exceeds a limit, or has a path that leads outside.
    """
    limit = max(MIN_LIMIT_BYTES, MAX_RATIO * archive.stat().st_size)
    with _translate_errors(archive), closing(_entries(archive, limit)) as entries:
        for number, (name, is_file, open_entry) in enumerate(entries, start=1):
            if number > MAX_ENTRIES:
                raise BadArchive(f"{archive}: more than {MAX_ENTRIES:,} entries. It is not unpacked")
            path = PureWindowsPath(name)  # knows both separators
            if path.anchor or ".." in path.parts or "\0" in name:
                raise BadArchive(f"{archive}: the path '{safe_path(name)}' in it leads outside. It is not unpacked")
            target = wanted(str(PurePosixPath(name)))
            if target and not is_file:
                left_out.add("a link or a device in the archive", name)
            elif target:
                try:
                    (folder / target).parent.mkdir(parents=True, exist_ok=True)
                    with (folder / target).open("xb") as out, open_entry() as source:
                        shutil.copyfileobj(source, out, BLOCK)
                except FileExistsError as error:
                    raise BadArchive(f"{archive}: holds '{target}' twice, or below a file. It is not unpacked") from error
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:
                        raise
                    left_out.add("a name that is too long", name)


@contextmanager
def open_zip(path: Path, limit: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip file. Raise `BadArchive` if it is damaged or its files take more than `limit` bytes."""
    with _translate_errors(path), _ZipReader(io.FileIO(path)) as source, zipfile.ZipFile(source) as opened:
        if sum(entry.file_size for entry in opened.infolist()) > limit:  # zipfile reads no more bytes of an entry than this
            raise _too_large(path, limit)
        yield opened


def _entries(archive: Path, limit: int) -> Generator[tuple[str, bool, Any], None, None]:
    """Yield for each entry that is no folder its path, True for a file or False for a link or a device, and the function that opens it."""
    with archive.open("rb") as file:
        magic = file.read(2)
    if magic == b"PK":
        with open_zip(archive, limit) as opened_zip:
            for entry in opened_zip.infolist():
                if not entry.is_dir():  # a type of 0 is not packed on Unix
                    yield entry.filename, stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG), partial(opened_zip.open, entry)
        return
    decompress: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(magic, Path.open)
    length = content = 0  # bytes read, and the position after the last byte that is not zero
    with decompress(archive, "rb") as source:

        def read(size: int) -> bytes:
            nonlocal length, content
            block = source.read(size)
            content = length + len(block.rstrip(b"\0")) if block.strip(b"\0") else content
            length += len(block)
            if length > limit:  # headers can be bombs too
                raise _too_large(archive, limit)
            return block

        with tarfile.open(fileobj=SimpleNamespace(read=read), mode="r|") as opened:
            unpacked = 0
            while info := opened.next():
                unpacked += info.size  # of a sparse file more than is read
                if unpacked > limit:
                    raise _too_large(archive, limit)
                if not info.isdir():
                    yield info.name, info.isfile(), partial(opened.extractfile, info)
                opened.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            while read(BLOCK):
                pass
            # tarfile takes a damaged header for the end of the archive.
            if length < opened.offset + tarfile.BLOCKSIZE or content > opened.offset:
                raise tarfile.ReadError(f"it is damaged or incomplete at byte {opened.offset:,}")


@contextmanager
def _translate_errors(archive: Path) -> Iterator[None]:
    """Turn the exceptions of damaged archives, which may be of any type, into `BadArchive`."""
    try:
        yield
    except Exception as error:
        of_destination = isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EACCES, errno.EROFS)
        if of_destination or isinstance(error, SrganError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadArchive(f"{archive}: cannot be unpacked ({reason}). Delete it and download it again") from error


def _too_large(archive: Path, limit: int) -> BadArchive:
    return BadArchive(f"{archive}: unpacks to more than {limit / 1e6:,.0f} MB. It is not opened")


class _ZipReader(io.BufferedReader):
    """A zip file with a limit for its list of entries, which `zipfile` reads in one piece."""

    def read(self, size: int | None = -1) -> bytes:
        if size and size > MAX_DIRECTORY_BYTES:
            found = f"its list of entries takes {size / 1e6:.0f} MB, more than {MAX_DIRECTORY_BYTES / 1e6:.0f} MB"
            raise BadArchive(f"{self.name}: {found}. It is not unpacked. Unpack it yourself and name the folder")
        return super().read(size)
