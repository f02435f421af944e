"""Write files atomically, so that a file is either complete or absent."""

import ctypes
import errno
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from srgan.utils.errors import SrganError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk or the user's quota
SCRATCH_LABELS = ("pixels", "resized", "former")  # of `scratch_file`
HOST = re.sub(r"\W", "_", platform.node(), flags=re.ASCII)[:24]
OWNER = r"\w*-[0-9a-f]{12}"  # host and a random number. Process numbers repeat in containers.
UNLOCKABLE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}  # errors of a file system without locks
ABANDONED_SECONDS = 24 * 3600  # without a change, on a file system without locks

log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def final_name(text: str) -> str:
    """Return a text with final names instead of temporary ones, such as raw for .raw.host-0123456789ab.tmp."""
    return re.sub(rf"\.([^/\\]+?)(\.(?:{'|'.join(SCRATCH_LABELS)}))?\.{OWNER}\.tmp(\.former)?", r"\1", text)


# -- temporary files -------------------------------------------------------------------------------------------------------


@contextmanager
def _temporary(path: Path, label: str = "", folder: bool = False) -> Iterator[Path]:
    """Make a new, locked file or folder next to `path`. It is removed after the block if it still exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.absolute())
    name = path.name if len(os.fsencode(path.name)) < 200 else digest(path.name)  # a name has 255 bytes at most
    while True:
        temporary = path.with_name(f".{name}{label}.{HOST}-{secrets.token_hex(6)}.tmp")
        if folder:
            temporary.mkdir()
        else:  # an existing file, such as a link to another file, is not opened
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
        try:
            with _locked(temporary) as free:
                if free is False or not temporary.exists():  # another process has removed it
                    continue
                yield temporary
                return
        finally:
            if folder:
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Hold a lock on a file or folder. The kernel releases it when the process ends, also after a kill.

    Yields:
        False if another process holds it or has removed the file, None if the file system has no locks.

    Raises:
        OSError: the file is a link, permission is denied, or this process has too many open files.
    """
    if not fcntl:
        yield None
        return
    try:
        descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free: bool | None = True
        except BlockingIOError:
            free = False
        except OSError:
            free = None
        yield free
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1000)  # once a process, as a folder may hold many files
def _sweep(folder: Path) -> None:
    """Remove temporary files of killed processes, and restore a folder that one of them was replacing."""
    for left in list(folder.iterdir()):
        if not re.fullmatch(rf"\..+\.{OWNER}\.tmp(\.former)?", left.name):
            continue
        with suppress(OSError), _locked(left) as free:
            if free or (free is None and time.time() - _changed(left) > ABANDONED_SECONDS):
                former = re.fullmatch(rf"\.(.+)\.{OWNER}\.tmp\.former", left.name)
                if former and not (folder / former[1]).exists():
                    left.replace(folder / former[1])
                elif left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def _changed(path: Path) -> float:
    return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))


@contextmanager
def scratch_file(path: str | Path, label: str) -> Iterator[Path]:
    """Yield an empty temporary file next to `path`. It is removed after the block. `label` is one of `SCRATCH_LABELS`."""
    with named(path), _temporary(Path(path), f".{label}") as scratch:
        yield scratch


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`. It is removed after the block, or after a kill by the next program there."""
    with _temporary(Path(path), folder=True) as scratch:
        yield scratch


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Name `path` in a disk error of the block. Unlike a failed open, a failed write does not name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (*DISK_FULL, errno.EIO, errno.EROFS, errno.EFBIG):
            error.filename = str(path)
        raise


@contextmanager
def one_at_a_time(lock: str | Path, timeout: float = -1) -> Iterator[None]:
    """Let one process at a time run the block. A file system without locks causes a warning instead.

    Args:
        lock: a file for this purpose alone. It is created and stays.
        timeout: seconds to wait for other processes. -1 is no limit.

    Raises:
        TimeoutError: another process held the lock for longer.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(lock, timeout=timeout))
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                raise
            log.warning("%s: no file locks on this system; start one command at a time", lock)
        yield


# -- files and folders that appear whole -----------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary file next to `path`. It becomes `path` when the block succeeds.

    An exception, a kill or a power cut leaves a former `path` unchanged.
    """
    path = Path(path)
    with named(path), _temporary(path) as temporary:
        yield temporary
        _sync(temporary)  # a rename that reaches the disk before the bytes would leave an empty file
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new, empty folder next to `path`. It replaces `path` when the block succeeds.

    An exception, a kill or a power cut leaves a former `path` unchanged. At the moment of the exchange, a kill may leave the former folder
    under a temporary name. The next program that writes in the same place restores it.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # the target of the link is replaced
    with named(path), _temporary(path, folder=True) as temporary:
        yield temporary
        _sync_all(temporary)
        _replace(path, temporary)
        _sync(path.parent)


def _replace(path: Path, new: Path) -> None:
    former = new.with_name(f"{new.name}.former")
    try:
        while True:
            try:
                new.replace(path)
                return
            except OSError:
                if not path.is_dir():  # otherwise it blocks the rename, for example because another process has just created it
                    raise
            shutil.rmtree(former, ignore_errors=True)
            with _locked(path), suppress(FileNotFoundError):  # locked against removal
                path.replace(former)
    finally:
        if former.exists() and not path.exists():
            former.replace(path)
        shutil.rmtree(former, ignore_errors=True)


def _sync(path: Path) -> None:
    """Flush the bytes of a file, or the names of a folder, to the disk."""
    with suppress(PermissionError) if path.is_dir() else nullcontext():  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Flush all files of a folder to the disk. Linux has one call for this, which is several times as fast for thousands of files."""
    if sys.platform == "linux":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            library = ctypes.CDLL(None, use_errno=True)
            if library.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)
    else:
        for path in (*folder.rglob("*"), folder):
            _sync(path)


def copy(source: str | Path, target: str | Path) -> None:
    """Copy the bytes of a file. Btrfs, XFS and others let both files share disk blocks until one of them changes.

    A hard link would not do: DVC may make its files read-only, which would change the user's file too.
    """
    if sys.platform == "linux":
        clone = 0x40049409  # FICLONE, see ioctl_ficlone(2)
        with suppress(OSError), Path(source).open("rb") as theirs, Path(target).open("wb") as ours:
            fcntl.ioctl(ours, clone, theirs.fileno())
            return
    shutil.copyfile(source, target)


def copy_dates(source: str | Path, target: str | Path) -> None:
    """Give a file the times of another, of its last change and of its last reading."""
    times = Path(source).stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def free_space(path: str | Path) -> int:
    """Return the free bytes on the disk of a file, which need not exist."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinite values are refused because JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file that the stage `made_by` wrote. The error for a missing or broken file names that stage."""
    path = require(path, made_by)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SrganError(f"{path}: not valid JSON ({error}). Make it again with: dvc repro -sf {made_by}") from error


def read_json_or_none(path: str | Path) -> Any:
    """Read an optional JSON file. Return None if it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def plain_name(name: Any, found_in: str, suffix: str = "") -> str:
    """Return `name` if it is a plain file name: no path, no drive, no control character.

    Use it for each name from a file or a server that becomes a part of a path.

    Args:
        name: the name.
        found_in: its origin for the message.
        suffix: the required end of the name, such as ``.onnx``.

    Raises:
        SrganError: it is not a plain file name.
    """
    plain = isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"^[A-Za-z]:|[/\\\x00-\x1f\x7f]", name)
    if not plain or not name.endswith(suffix) or name == suffix:
        raise SrganError(
            f"{found_in}: {str(name)[:100]!r} is not a plain file name{f' ending in {suffix}' if suffix else ''}. It is not used"
        )
    return name


def require(path: str | Path, made_by: str) -> Path:
    """Return `path` if it exists. Otherwise raise an error that names the stage that writes it."""
    path = Path(path)
    if not path.exists():
        raise SrganError(f"{path}: no such file or folder. It is made by: dvc repro {made_by}")
    return path


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value. Equal values have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
