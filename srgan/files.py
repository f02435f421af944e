"""Files that are either whole or not there: what a later stage finds, it may believe."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from srgan.errors import SrganError

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it
SCRATCH = ("pixels", "resized", "former")  # what `scratch_file` may be for


def _temporary(path: Path, label: str = "") -> Path:
    name = path.name if len(os.fsencode(path.name)) < 200 else digest(path.name)  # a name has 255 bytes at most
    return path.with_name(f".{name}{label}.{os.getpid()}.tmp")


def final_name(text: str) -> str:
    """A text in which people's names stand for temporary ones: such as raw for .raw.4711.tmp."""
    return re.sub(rf"\.([^/\\]+?)(\.(?:{'|'.join(SCRATCH)}))?\.\d+\.tmp", r"\1", text)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed outright have left beside `path`."""
    for left in path.parent.glob(glob.escape(_temporary(path).name.removesuffix(f".{os.getpid()}.tmp")) + ".*.tmp"):
        number = left.name.split(".")[-2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


@contextmanager
def scratch_file(path: str | Path, label: str) -> Iterator[Path]:
    """Yield a path beside `path`, for what is needed on the way to it, of the kinds in `SCRATCH`; it is gone after the block."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    scratch = _temporary(path, f".{label}")
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


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
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` when the block ends well.

    An exception or a kill leaves a former `path` as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with named(path):
            yield temporary
            # The rename must not become durable before the bytes: a power cut would leave an empty file under the final name.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new, empty folder beside `path`; it replaces `path` when the block ends well."""
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()  # what it points to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    _sweep(path)
    shutil.rmtree(temporary, ignore_errors=True)  # of a former process with this number
    temporary.mkdir()
    try:
        with named(path):
            yield temporary
        if path.exists():
            former = temporary.with_name(f"{temporary.name}.former")
            path.replace(former)
            temporary.replace(path)
            shutil.rmtree(former)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
