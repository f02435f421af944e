"""Read images from untrusted zip and tar archives."""

import bz2
import errno
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from srgan.data.left_out import LeftOut
from srgan.data.names import safe_path
from srgan.utils.errors import SrganError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_FILES = 1_000_000  # entries of any kind
MOST_DIRECTORY = 32 << 20  # bytes of a zip's list of entries, some 300,000; in memory it takes ten times as much
MOST_BYTES = 1 << 40  # unpacked
MOST_RATIO = 100  # unpacked / packed, of the whole: photographs stay below 10, bombs are above 1000
SMALL = 64 << 20  # unpacked bytes up to which the ratio is not checked
OVERHEAD = 16 << 20  # bytes of headers and padding that a tar archive may have beside its files
BLOCK = 1 << 20


class BadArchive(SrganError):
    """An archive that is broken, or that no honest person would make."""


@dataclass(frozen=True)
class _Entry:
    name: str
    kind: str  # file, folder, link or device
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive which `unpack` reads."""
    return name.lower().endswith(SUFFIXES)


def refuse_bomb(path: Path, ratio: float, small: int = SMALL) -> None:
    """Refuse a zip file whose records would take far more memory than the file, before anything reads them; other files pass.

    Args:
        path: of the file.
        ratio: that its records, unpacked, may have to its size.
        small: bytes that are always allowed.

    Raises:
        BadArchive: it would take more, or its list of entries is too long.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":  # as torch decides it
            return
    with _told(path), _Bounded(io.FileIO(path)) as source, zipfile.ZipFile(source) as opened:
        total = sum(entry.file_size for entry in opened.infolist())
    if total > max(small, ratio * path.stat().st_size):
        raise BadArchive(f"{path}: its records take {total / 1e6:,.0f} MB, the file {path.stat().st_size / 1e6:,.1f} MB; not opened")


def unpack(archive: Path, folder: Path, wanted: Callable[[str], str | None], left_out: LeftOut | None = None) -> list[str]:
    """Write the wanted files of a zip or tar archive into `folder`.

    Only plain files are written.

    Args:
        archive: what to read; its content decides what it is, not its name.
        folder: where the files go; it exists.
        wanted: from a file's path in the archive to its path below `folder`, or None to leave it out.
        left_out: gets links, devices, and names that the file system refuses.

    Returns:
        The paths below `folder`, in the archive's order.

    Raises:
        BadArchive: it is broken or encrypted, a path in it leads outside, or it unpacks to more than the limits above.
    """
    written: list[str] = []
    limit = _limit(archive)
    total, left_out = 0, left_out or LeftOut()
    with _told(archive), _entries(archive) as entries:
        for number, entry in enumerate(entries, start=1):
            if number > MOST_FILES:
                raise BadArchive(f"{archive}: more than {MOST_FILES:,} entries; not unpacked")
            _refuse_outside(archive, entry.name)
            target = wanted(str(PurePosixPath(entry.name))) if entry.kind != "folder" else None
            if target is None:
                continue
            if entry.kind != "file":
                left_out.add(f"a {entry.kind} in the archive", entry.name)
                continue
            path = folder / target
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    raise BadArchive(f"{archive}: holds '{target}' twice; not unpacked")
                out = path.open("xb")
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                left_out.add("a name that is too long", entry.name)
                continue
            with entry.open() as source, out:
                while block := source.read(BLOCK):
                    total += len(block)
                    if total > limit:
                        raise BadArchive(f"{archive}: unpacks to more than {limit / 1e9:.2g} GB; not unpacked")
                    out.write(block)
            written.append(target)
    return written


def _limit(archive: Path) -> int:
    return min(MOST_BYTES, max(SMALL, MOST_RATIO * archive.stat().st_size))


def _refuse_outside(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1] or (path.parts and path.parts[0].endswith(":")) or "\0" in name:
        raise BadArchive(f"{archive}: the path '{safe_path(name)}' in it leads outside; not unpacked")


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Broken archives raise nearly anything."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):  # ours, not the archive's
            raise
        raise _broken(archive, error) from error
    except SrganError:
        raise
    except Exception as error:
        raise _broken(archive, error) from error


def _broken(archive: Path, error: Exception) -> BadArchive:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BadArchive(f"{archive}: cannot be unpacked ({reason}); delete it and fetch it again")


@contextmanager
def _entries(archive: Path) -> Iterator[Iterator[_Entry]]:
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"PK":
        with _Bounded(io.FileIO(archive)) as source, zipfile.ZipFile(source) as opened:
            yield (_zip_entry(opened, info) for info in opened.infolist())
        return
    packed = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(magic[:2], Path.open)
    with packed(archive, "rb") as source:
        stream = _Tape(archive, source, _limit(archive) + OVERHEAD)
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            yield _tar_entries(opened)
            # tarfile takes anything it does not understand for the end.
            while stream.read(BLOCK):
                pass
            if stream.length < opened.offset + tarfile.BLOCKSIZE or stream.last > opened.offset:
                raise tarfile.ReadError(f"it is damaged or incomplete at byte {opened.offset:,}")


class _Bounded(io.BufferedReader):
    """A zip file of which nobody reads too much at once: Python reads the whole list of entries before it shows one."""

    def read(self, size: int | None = -1) -> bytes:
        if size and size > MOST_DIRECTORY:
            raise BadArchive(
                f"{self.name}: its list of entries takes {size / 1e6:.0f} MB, more than {MOST_DIRECTORY / 1e6:.0f} MB; not unpacked: "
                "unpack it yourself and name the folder"
            )
        return super().read(size)


class _Tape:
    """The bytes of a tar archive, of which nobody reads more than `limit`: headers can be bombs too."""

    def __init__(self, archive: Path, source: IO[bytes], limit: int) -> None:
        self.archive, self.source, self.limit = archive, source, limit
        self.length = 0  # read so far
        self.last = 0  # just behind the last byte that is not zero

    def read(self, size: int) -> bytes:
        block = self.source.read(size)
        content = len(block.rstrip(b"\0"))
        if content:
            self.last = self.length + content
        self.length += len(block)
        if self.length > self.limit:
            raise BadArchive(f"{self.archive}: unpacks to more than {self.limit / 1e9:.2g} GB; not unpacked")
        return block


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    mode = stat.S_IFMT(info.external_attr >> 16)  # zero where the archive was not made on Unix
    kind = "folder" if info.is_dir() else {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(mode, "device")
    return _Entry(info.filename, kind, lambda: archive.open(info))


def _tar_entries(archive: tarfile.TarFile) -> Iterator[_Entry]:
    while info := archive.next():
        yield _tar_entry(archive, info)
        archive.members.clear()  # it would keep them all


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Entry:
    kind = "file" if info.isfile() else "folder" if info.isdir() else "link" if info.issym() or info.islnk() else "device"

    def opened() -> IO[bytes]:
        file = archive.extractfile(info)
        assert file is not None  # it is a plain file
        return file

    return _Entry(info.name, kind, opened)
