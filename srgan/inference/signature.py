"""Signed folders: their checksums, their signature, and the refusal of a model that is not part of one."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from srgan.utils.errors import SrganError, reason
from srgan.utils.files import sha256, write_text

if TYPE_CHECKING:
    from model_signing import hashing, signing

SUMS = "SHA256SUMS"  # a line for each other file, as `sha256sum` writes it
SIGNATURE = "model.sig"  # of all other files, in the format of OpenSSF Model Signing
SIGNING_KEY, PASSWORD, KEY = "SRGAN_SIGN_KEY", "SRGAN_SIGN_PASSWORD", "SRGAN_VERIFY_KEY"  # environment variables
INSTALL = "signatures need another package. Install it with: pip install 'srgan[release]'"

log = logging.getLogger(__name__)


def checksums(folder: Path) -> str:
    """Return the text of `SUMS` for the files of a folder.

    Raises:
        SrganError: the folder holds a link or a special file, whose content may change without it.
    """
    files = ((path, path.relative_to(folder).as_posix()) for path in regular_files(folder))
    return "".join(f"{sha256(path)}  {name}\n" for path, name in files if name not in (SUMS, SIGNATURE))


def regular_files(folder: Path) -> Iterator[Path]:
    """Return the files of a folder in order.

    Raises:
        SrganError: the folder holds a link or a special file, whose content may change without it.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SrganError(f"{path}: not a regular file. A release has no links and no special files. Copy the release again")
        if path.is_file():
            yield path


def seal(folder: Path, key: Path | None) -> None:
    """Write the checksums of a folder and, with a key, its signature.

    Args:
        folder: with all its files.
        key: a private key in PEM, of the curve P-256, P-384 or P-521. ``SRGAN_SIGN_PASSWORD`` holds the password of an encrypted one.

    Raises:
        SrganError: the key cannot be read or is of another kind, or the package for signatures is missing.
    """
    write_text(folder / SUMS, checksums(folder))
    if not key:
        return
    signer(key).sign(folder, folder / SIGNATURE)


def signer(key: Path) -> "signing.Config":
    """Return what signs with a private key, see `seal`.

    Raises:
        SrganError: the key cannot be read or is of another kind, or the package for signatures is missing.
    """
    try:
        from model_signing import signing  # an optional package
    except ImportError as error:
        raise SrganError(INSTALL) from error
    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        found = signing.Config().use_elliptic_key_signer(private_key=key, password=password)  # type: ignore[arg-type] # it takes bytes
    except (OSError, ValueError, TypeError, AttributeError) as error:  # cryptography's, for damaged keys, passwords and other kinds of keys
        raise SrganError(f"{key}: not a private key of an elliptic curve that can be read: {reason(error)}. See docs/release.md") from error
    return found.set_hashing_config(_hashing())


def verify(folder: Path, key: Path | None) -> None:
    """Compare a folder with its checksums and, with a key, with its signature.

    Args:
        folder: the folder.
        key: the public key of the publisher in PEM.

    Raises:
        SrganError: a file was changed, added or removed, the signature is missing or is not by this key, or the key is not readable.
    """
    if not (folder / SUMS).is_file():
        raise SrganError(f"{folder}: no {SUMS}. Name the folder of a release")
    recorded, found = (folder / SUMS).read_bytes(), checksums(folder).encode()
    if recorded != found:
        names = {line.partition(b"  ")[2].decode(errors="replace") for line in set(recorded.split(b"\n")) ^ set(found.split(b"\n"))}
        shown = ", ".join(sorted(names - {""})[:5]) or SUMS
        raise SrganError(f"{folder}: changed after its release: {shown}. Do not use it. Copy or download it again")
    if key:
        _verify_signature(folder, key)


def _verify_signature(folder: Path, key: Path) -> None:
    path = folder / SIGNATURE
    if not path.is_file():
        raise SrganError(f"{path}: no such file. The release has no signature. Ask its publisher for a signed one")
    try:
        from model_signing import verifying  # an optional package
        from sigstore_models.bundle.v1 import Bundle
    except ImportError as error:
        raise SrganError(INSTALL) from error
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, AttributeError) as error:  # cryptography's, for damaged keys and other kinds of keys
        raise SrganError(f"{key}: not a public key of an elliptic curve that can be read: {reason(error)}. See docs/release.md") from error
    try:
        # Base64 has several texts for the same bytes, and the reader ignores unknown entries. Only one text is accepted.
        if Bundle.from_json(path.read_bytes()).to_json().encode() != path.read_bytes():
            raise ValueError("its text is not the one that was written")
        verifier.set_hashing_config(_hashing()).verify(folder, path)
    except Exception as error:  # the classes of five libraries, for any damage
        raise SrganError(f"{path}: not the signature of these files by {key}: {reason(error)}. Do not use the release") from error


def _hashing() -> "hashing.Config":
    """Return which files are signed: all but the signature, also those of git, which the library leaves out by default."""
    from model_signing import hashing  # an optional package

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def require_signed(path: Path, digest: str) -> None:
    """Refuse a model that is not part of a signed release, if ``SRGAN_VERIFY_KEY`` names a public key.

    Args:
        path: the model file.
        digest: its SHA-256, of the bytes that are used.

    Raises:
        SrganError: no folder above the file is a release, or the release does not verify.
    """
    key = os.environ.get(KEY)
    if not key:
        return
    resolved = path.resolve()
    folder = next((parent for parent in resolved.parents if (parent / SIGNATURE).is_file()), None)
    if folder is None:
        raise SrganError(f"{path}: not part of a signed release, which {KEY} requires. Name a model of a release, or unset {KEY}")
    verify(folder, Path(key))
    if f"{digest}  {resolved.relative_to(folder).as_posix()}\n" not in (folder / SUMS).read_text(encoding="utf-8"):
        raise SrganError(f"{path}: changed while it was read. Use the release again when nothing writes to it")
    log.info("%s: verified with %s", folder, key)
