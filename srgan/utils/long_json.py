"""Read and write JSON files with a list of a million records, one record at a time.

The package ijson reads such files too, but a bare GPU image, on which images are prepared as well, does not have it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from srgan.utils.disk import DiskList
from srgan.utils.errors import SrganError
from srgan.utils.files import atomic_file, require

CHUNK = 1 << 16  # characters

_SPACE = re.compile(r"[ \t\n\r]*")


def write(path: Path, value: dict[str, Any]) -> None:
    """Write the bytes that `srgan.utils.files.write_json` writes. Values may be a `DiskList`."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for number, (key, part) in enumerate(value.items()):
            file.write(f"{',' if number else '{'}\n  {json.dumps(key)}: ")
            file.writelines(_texts(part))
        file.write("\n}\n")


def _texts(part: Any) -> Iterator[str]:
    if not isinstance(part, DiskList) or not part:
        yield _indented([] if isinstance(part, DiskList) else part, 2)
        return
    for number, item in enumerate(part):
        yield f"{',' if number else '['}\n    {_indented(item, 4)}"
    yield "\n  ]"


def _indented(value: Any, spaces: int) -> str:
    return json.dumps(value, indent=2, allow_nan=False).replace("\n", "\n" + " " * spaces)


def digest(items: Iterable[Any]) -> str:
    """Return a digest of a list. Equal lists have equal digests."""
    checksum = hashlib.sha256()
    for item in items:
        checksum.update(json.dumps(item, sort_keys=True).encode() + b"\n")
    return checksum.hexdigest()


def read(path: Path, key: str, made_by: str) -> Any:
    """Read a file as `srgan.utils.files.read_json` does. If it is a dictionary, its list `key` becomes a `DiskList`.

    Args:
        path: the file.
        key: of the long list.
        made_by: the stage that writes the file, for messages.

    Raises:
        SrganError: the file is missing or broken.
    """
    try:
        with require(path, made_by).open(encoding="utf-8") as file:
            text = _Text(file)
            found = dict(text.members(key)) if text.next() == "{" else text.value()
            if text.next():
                raise ValueError("text after the end")
            return found
    except ValueError as error:
        raise SrganError(f"{path}: not valid JSON ({error}). Make it again with: dvc repro -sf {made_by}") from error


class _Text:
    """A JSON text of which a part is in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def next(self) -> str:
        """Return the next character that is no space, empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _more(self) -> bool:
        """Read on, by more for a long value, so that it is tried a few times only."""
        more = self._file.read(max(CHUNK, len(self._text) - self._at))
        if more:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def value(self) -> Any:
        """Return the value that begins here."""
        self.next()
        while True:
            try:
                found, end = self._decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if end < len(self._text) or not self._more():  # a number may continue
                self._at = end
                return found

    def members(self, key: str) -> Iterator[tuple[str, Any]]:
        """Yield the members of the dictionary that begins here."""
        for _ in self._separated("{", "}"):
            name = self.value()
            self._take(":")
            yield name, DiskList(self._items()) if name == key and self.next() == "[" else self.value()

    def _items(self) -> Iterator[Any]:
        for _ in self._separated("[", "]"):
            yield self.value()

    def _separated(self, opening: str, closing: str) -> Iterator[None]:
        """Yield before each of the values between two brackets."""
        self._take(opening)
        while self.next() != closing:
            yield
            if self.next() != closing:
                self._take(",")
        self._take(closing)

    def _take(self, mark: str) -> None:
        if self.next() != mark:
            raise ValueError(f"{self.next()!r} in place of {mark!r}")
        self._at += 1
