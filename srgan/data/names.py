"""Names of images that are safe for every file system, tool, terminal and page, and unique within a set."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from srgan.utils.disk import DiskDict
from srgan.utils.files import digest

MAX_NAME_CHARACTERS = 120  # of a prepared image
MAX_PART_BYTES = 200  # of a file's or folder's name. File systems allow 255, and temporary names are longer

# Control characters, line separators, marks that reverse the direction of text, and bytes that are not UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_path(path: str) -> str:
    """Return a relative path that every tool accepts and that reads the same.

    Unicode is composed (NFC, the form of systems other than macOS). An unsafe byte becomes ``%`` and two hexadecimal digits. A part of
    more than `MAX_PART_BYTES` is shortened and ends in a digest.
    """
    return "/".join(map(_safe_part, path.split("/")))


def _safe_part(part: str) -> str:
    text = _UNSAFE.sub(_escaped, unicodedata.normalize("NFC", part))
    if len(text.encode()) <= MAX_PART_BYTES:
        return text
    suffix = PurePosixPath(text).suffix
    suffix = suffix if len(suffix.encode()) <= 10 else ""
    return f"{text.encode()[: MAX_PART_BYTES - 20].decode(errors='ignore')}-{digest(part)[:8]}{suffix}"


def _escaped(found: re.Match[str]) -> str:
    kind = "surrogateescape" if "\udc80" <= found[0] <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors=kind))


class SafePaths:
    """Apply `safe_path` to the files of one folder. Different paths stay different."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        """Return the safe path of a file."""
        safe = safe_path(path)
        if self.taken.setdefault(safe, path) != path:  # such as a name in NFC and in NFD
            stem, dot, suffix = safe.rpartition(".")
            safe = f"{stem}-{digest(path)[:8]}{dot}{suffix}"
        return safe


class UniqueNames:
    """A name for each image of some sets: the path with ``_`` for ``/``. The suffix or a number is added to equal names of a set only.

    A name is safe as a file, in a terminal and in a spreadsheet. ``_`` replaces unprintable characters, and precedes ``=+-@``, which would
    start a formula.

    Args:
        images: set and path of each image that will get a name.
    """

    def __init__(self, images: Iterable[tuple[str, str]]) -> None:
        self._equal, self._taken = DiskDict(), DiskDict()
        for number, (set_name, path) in enumerate(images):
            short = f"{set_name}/{_short(path)}"
            if self._equal.setdefault(short, number) != number:
                self._equal[short] = -1

    def __call__(self, set_name: str, path: str) -> str:
        """Return the name of the next image."""
        name = _short(path)
        if self._equal.get(f"{set_name}/{name}") == -1:
            name = _plain(PurePosixPath(path))
        if len(name) > MAX_NAME_CHARACTERS or len(name.encode()) > MAX_PART_BYTES:
            cut = name.encode()[: MAX_PART_BYTES - 9].decode(errors="ignore")
            name = f"{cut[: MAX_NAME_CHARACTERS - 9]}-{digest(path)[:8]}"
        number, base = 2, name
        while f"{set_name}/{name}" in self._taken:
            name, number = f"{base}-{number}", number + 1
        self._taken[f"{set_name}/{name}"] = True
        return name


def unique_names(paths: Sequence[str]) -> list[str]:
    """Return the `UniqueNames` of a single set."""
    names = UniqueNames(("", path) for path in paths)
    return [names("", path) for path in paths]


def _short(path: str) -> str:
    return _plain(PurePosixPath(path).with_suffix(""))


def _plain(path: PurePosixPath) -> str:
    name = "".join(character if character.isprintable() and character not in "\\:" else "_" for character in "_".join(path.parts))
    return f"_{name}" if name.startswith(("=", "+", "-", "@")) else name
