"""``checksums.json``: what the first download of each data set held, so that later downloads, on any machine, must match it."""

import json
import logging
from pathlib import Path

from srgan.utils.addresses import without_secrets
from srgan.utils.errors import SrganError
from srgan.utils.files import digest, write_json

CHECKSUMS = Path("checksums.json")

log = logging.getLogger(__name__)


def digest_of(images: list[str]) -> str:
    """The digest of a set, from the SHA-256 of its images: it depends neither on their names nor on their order."""
    return digest(sorted(images))


class Checksums:
    """The digests of data sets, in a file that belongs under version control.

    The file maps ``NAME/SPLIT`` (or the address of a user's own file, without password and query) to the digest of its images: the
    same images are the same set, however they are named and packed.
    """

    def __init__(self, path: Path = CHECKSUMS) -> None:
        self.path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
                raise ValueError("not a table of digests")
        except ValueError as error:
            raise SrganError(f"{path}: not valid JSON ({error}); restore it with git, or delete it") from error
        # Former versions wrote addresses with all that they hold.
        self.known: dict[str, str] = {without_secrets(key): value for key, value in known.items()}
        self.added: dict[str, str] = {}
        self.rewritten = list(self.known) != list(known)

    def check(self, key: str, images: list[str]) -> bool:
        """Compare the SHA-256 of a set's images with the recorded digest, or record it. Returns whether it was recorded before.

        Raises:
            SrganError: the images differ from those of the first download.
        """
        key, actual = without_secrets(key), digest_of(images)
        expected = self.known.get(key)
        if expected is None:
            self.added[key] = actual
        elif actual != expected:
            raise SrganError(
                f"{key}: these images are not those of the first download (digest {actual[:12]}..., {self.path} has {expected[:12]}...); "
                f"if the new ones are right, delete that line of {self.path}"
            )
        return expected is not None

    def save(self) -> None:
        """Write what was added."""
        if self.added or self.rewritten:
            write_json(self.path, dict(sorted((self.known | self.added).items())))
        if self.rewritten:
            log.warning(
                "%s: passwords and tokens removed from its addresses; commit it, and replace those that others could read", self.path
            )
        if self.added:
            log.info("%s: recorded %s; commit this file", self.path, ", ".join(sorted(self.added)))
