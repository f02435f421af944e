"""Files that are either whole or not there: what a later stage finds, it may believe."""

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

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it
SCRATCH = ("pixels", "resized", "former")  # what `scratch_file` may be for
HOST = re.sub(r"\W", "_", platform.node(), flags=re.ASCII)[:24]
OWNER = r"\w*-[0-9a-f]{12}"  # host and a random number: a process has the same number in every container
UNLOCKABLE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK}  # what a file system without locks answers
ABANDONED = 24 * 3600  # seconds without a change, where the file system has no locks

log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def final_name(text: str) -> str:
    """A text in which people's names stand for temporary ones: such as raw for .raw.host-0123456789ab.tmp."""
    return re.sub(rf"\.([^/\\]+?)(\.(?:{'|'.join(SCRATCH)}))?\.{OWNER}\.tmp(\.former)?", r"\1", text)


# -- temporary files -------------------------------------------------------------------------------------------------------


@contextmanager
def _temporary(path: Path, label: str = "", folder: bool = False) -> Iterator[Path]:
    """Make a file or folder beside `path` that is new and locked while the block runs; it is removed at the end if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent.absolute())
    name = path.name if len(os.fsencode(path.name)) < 200 else digest(path.name)  # a name has 255 bytes at most
    while True:
        temporary = path.with_name(f".{name}{label}.{HOST}-{secrets.token_hex(6)}.tmp")
        if folder:
            temporary.mkdir()
        else:  # whatever is there already, such as a link to another file, is not opened
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
        try:
            with _locked(temporary) as free:
                if free is False or not temporary.exists():  # another process has just swept it
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
    """Hold a lock on a file or folder, which the kernel takes back when the process ends, however it does.

    Yields:
        False if another process holds it or has removed the file, None if the file system has no locks.

    Raises:
        OSError: the file cannot be opened: it is a link, this user may not, or this process has too many files open.
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
    """Remove what processes that were killed have left in a folder, and put back a folder that one was about to replace."""
    for left in list(folder.iterdir()):
        if not re.fullmatch(rf"\..+\.{OWNER}\.tmp(\.former)?", left.name):
            continue
        with suppress(OSError), _locked(left) as free:
            if free or (free is None and time.time() - _changed(left) > ABANDONED):
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
    """Yield an empty file beside `path`, for what is needed on the way to it, of the kinds in `SCRATCH`; it is gone after the block."""
    with named(path), _temporary(Path(path), f".{label}") as scratch:
        yield scratch


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Let a disk's error in the block name `path`: a write that finds the disk full, unlike an open, does not say to which file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (*FULL, errno.EIO, errno.EROFS, errno.EFBIG):
            error.filename = str(path)
        raise


@contextmanager
def one_at_a_time(lock: str | Path, timeout: float = -1) -> Iterator[None]:
    """Let one process at a time run the block. On a file system without locks several may: that is a warning.

    Args:
        lock: a file for this purpose alone; it is created and stays.
        timeout: seconds to wait for the others; -1: no limit.

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
    """Yield an empty temporary file beside `path`; what is written there becomes `path` when the block ends well.

    An exception, a kill or a power cut leaves a former `path` as it was.
    """
    path = Path(path)
    with named(path), _temporary(path) as temporary:
        yield temporary
        _sync(temporary)  # the rename must not become durable before the bytes: an empty file would have the final name
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new, empty folder beside `path`; it replaces `path` when the block ends well.

    An exception leaves a former `path` as it was. So does a kill or a power cut; in the moment when the folders are exchanged it may
    leave the former one under a temporary name, and the next program that writes beside it puts it back.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # what it points to is replaced
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
                if not path.is_dir():  # else it is in the way, perhaps as another process has just put it there
                    raise
            shutil.rmtree(former, ignore_errors=True)
            with _locked(path), suppress(FileNotFoundError):  # locked, so that it is not swept
                path.replace(former)
    finally:
        if former.exists() and not path.exists():
            former.replace(path)
        shutil.rmtree(former, ignore_errors=True)


def _sync(path: Path) -> None:
    """Let a file's bytes, or a folder's list of names, reach the disk."""
    with suppress(PermissionError) if path.is_dir() else nullcontext():  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Let all files of a folder reach the disk. On Linux that is one call, for thousands of files several times as fast as one each."""
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
    """Copy a file's bytes. File systems that can (Btrfs, XFS, ...) let both share their place on the disk until one of them changes.

    Not a hard link: DVC may make its own files read-only, and a user's file must not change with them.
    """
    if sys.platform == "linux":
        clone = 0x40049409  # FICLONE, see ioctl_ficlone(2)
        with suppress(OSError), Path(source).open("rb") as theirs, Path(target).open("wb") as ours:
            fcntl.ioctl(ours, clone, theirs.fileno())
            return
    shutil.copyfile(source, target)


def free_space(path: str | Path) -> int:
    """Bytes that are free on the disk of a file, which need not exist."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinities are refused: they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file that the stage `made_by` wrote; a missing or broken one is an error that names that stage."""
    path = require(path, made_by)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SrganError(f"{path}: not valid JSON ({error}); make it again with: dvc repro -sf {made_by}") from error


def read_state(path: str | Path) -> Any:
    """Read a JSON file that is only a help: None if it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def plain_name(name: Any, found_in: str, suffix: str = "") -> str:
    """Return `name` if it names a file or folder of its own folder: no path, no drive, no control character.

    Use it for every name that is read from a file or a server and becomes a part of a path here.

    Args:
        name: what was read.
        found_in: where it was read, for the message.
        suffix: that the name must end with, such as ``.onnx``.

    Raises:
        SrganError: it is not such a name.
    """
    plain = isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"^[A-Za-z]:|[/\\\x00-\x1f\x7f]", name)
    if not plain or not name.endswith(suffix) or name == suffix:
        raise SrganError(
            f"{found_in}: {str(name)[:100]!r} is not a plain file name{f' ending in {suffix}' if suffix else ''}; it is not used"
        )
    return name


def require(path: str | Path, made_by: str) -> Path:
    """Return `path` if it exists, else say which stage writes it."""
    path = Path(path)
    if not path.exists():
        raise SrganError(f"{path}: no such file or folder; it is made by: dvc repro {made_by}")
    return path


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: equal values, equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
