"""Signed folders: their checksums, their signature, and the refusal of a model that is not part of one."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from srgan.utils.errors import SrganError
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
        raise _unfit(key, "private", error) from error
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
        why = f"has no {SUMS}" if folder.is_dir() else "no such folder"
        raise SrganError(f"{folder}: {why}. Name the folder of a release, or its OCI image layout")
    recorded, found = (folder / SUMS).read_bytes(), checksums(folder).encode()
    if recorded != found:
        shown = ", ".join(_differences(recorded, found)[:5]) or f"{SUMS} differs"
        raise SrganError(f"{folder}: changed after its release: {shown}. Do not use it. Copy or download it again")
    if key:
        _verify_signature(folder, key)


def _differences(recorded: bytes, found: bytes) -> list[str]:
    """Return a phrase for each file whose line in one of two texts of `SUMS` is not in the other."""
    expected, present = (
        {name.decode(errors="replace"): digest for digest, _, name in (line.partition(b"  ") for line in text.splitlines())}
        for text in (recorded, found)
    )
    names = sorted(name for name in expected.keys() | present.keys() if name and expected.get(name) != present.get(name))
    return [f"{name} {'was added' if name not in expected else 'differs' if name in present else 'is missing'}" for name in names]


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
        raise _unfit(key, "public", error) from error
    content = path.read_bytes()
    try:
        # Base64 has several texts for the same bytes, and the reader ignores unknown entries. Only one text is accepted.
        intact = Bundle.from_json(content).to_json().encode() == content
    except Exception:  # the classes of three libraries, for any damage
        intact = False
    if not intact:
        raise SrganError(f"{path}: damaged, so it does not show who signed the release. Do not use it. Copy or download it again")
    try:
        verifier.set_hashing_config(_hashing()).verify(folder, path)
    except Exception as error:  # the classes of five libraries, for any damage
        why = "The key is not the one of its publisher, or somebody changed files and their checksums"
        raise SrganError(f"{path}: not the signature of these files by {key}. {why}. Do not use the release") from error


def _unfit(key: Path, kind: str, error: Exception) -> SrganError:
    """Return an error in place of cryptography's, which name attributes of classes."""
    if isinstance(error, OSError):
        return SrganError(f"{key}: the {kind} key cannot be read ({error.strerror}). See docs/release.md")
    secret = f", or {PASSWORD} is not its password" if kind == "private" else ""
    return SrganError(f"{key}: not a {kind} key of P-256, P-384 or P-521 in PEM{secret}. Make a pair of keys as docs/release.md shows")


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
