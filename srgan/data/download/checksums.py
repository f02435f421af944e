"""Digests of downloaded data sets in ``checksums.json``: later downloads, on any machine, must match the first."""

import json
import logging
from pathlib import Path

from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, write_json

log = logging.getLogger(__name__)


def digest_of(images: list[str]) -> str:
    """Return the digest of a data set from the SHA-256 of its images. Names and order do not change it."""
    return digest(sorted(images))


class Checksums:
    """A file under version control that maps ``NAME/SPLIT``, or the address of a user's file, to the digest of its images.

    Addresses are written without password and query.

    Raises:
        SrganError: the file is not valid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            self.known = {without_secrets(key): str(value) for key, value in self.stored.items()}  # former versions wrote whole addresses
        except (ValueError, AttributeError) as error:
            raise SrganError(f"{path}: not valid JSON ({error}). Restore it with git, or delete it") from error
        self.added: dict[str, str] = {}

    def check(self, key: str, images: list[str]) -> bool:
        """Compare the SHA-256 of a data set's images with the recorded digest, or record it. Return True if there was one.

        Raises:
            SrganError: the images differ from those of the first download.
        """
        key, actual = without_secrets(key), digest_of(images)
        expected = self.known.get(key)
        if expected is None:
            self.added[key] = actual
        elif actual != expected:
            raise SrganError(
                f"{key}: these images are not those of the first download (digest {actual[:12]}..., {self.path} has {expected[:12]}...). "
                f"If the new ones are right, delete that line of {self.path}"
            )
        return expected is not None

    def save(self) -> None:
        """Write new digests."""
        if self.known | self.added != self.stored:
            write_json(self.path, dict(sorted((self.known | self.added).items())))
        if self.known.keys() != self.stored.keys():
            log.warning("%s: removed passwords and tokens from addresses. Commit it, and replace those that others could read", self.path)
        if self.added:
            log.info("%s: recorded %s. Commit this file", self.path, ", ".join(sorted(self.added)))
