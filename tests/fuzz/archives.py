"""Archives of a data set, through the stage that downloads and unpacks them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from srgan.config import schema
from srgan.config.data import Data
from srgan.config.project import Project
from srgan.stages import STAGES
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, SilentlyAccepted, Target
from tests.helpers.project import write_params

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": lambda tar: tar,
    ".tar.gz": lambda tar: gzip.compress(tar, mtime=0),
    ".tar.xz": lzma.compress,
    ".tar.bz2": bz2.compress,
}
NAMES = (
    "../escape.png",
    "/tmp/fuzz-escape.png",
    "a/../../escape.png",
    "..\\escape.png",
    "C:\\escape.png",
    "//host/x.png",
    "a/./b//c.png",
    ".",
    "",
    " ",
    "nul\0.png",
    "line\nfeed.png",
    "\x1b[31mred.png",
    "name.png/",
    "x" * 300 + ".png",
    "d/" * 2000 + "x.png",
    "\u202egnp.exe.png",
    "~/x.png",
    "train/x.png",
    "test/x.png",
    "HR/x.png",
    "LR/x.png",
    ".hidden.png",
)


def members() -> dict[str, bytes]:
    """What each seed holds."""
    rng = np.random.default_rng(0)
    names = ("a/one.png", "a/two.jpg", "a/deeper/three.png", "four.tif", "readme.txt")
    return {name: rng.bytes(600) + bytes(400) for name in names}


def _zip(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = method, mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def _tar(entries: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT, kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kind
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Archives(Target):
    """Zip and tar files."""

    name = "archives"
    count = 3_000

    def build(self, folder: Path) -> None:
        entries = list(members().items())
        (folder / "deflated.zip").write_bytes(_zip(entries))
        (folder / "stored.zip").write_bytes(_zip(entries, zipfile.ZIP_STORED))
        (folder / "packed.zip").write_bytes(_zip(entries, zipfile.ZIP_LZMA))
        for suffix, packed in PACKERS.items():
            (folder / f"pax{suffix}").write_bytes(packed(_tar(entries)))
            (folder / f"gnu{suffix}").write_bytes(packed(_tar([*entries, ("n" * 120 + ".png", b"long name")], tarfile.GNU_FORMAT)))
        (folder / "project").mkdir()
        write_params(folder / "project")

    def fixed(self) -> dict[str, Callable[[], bytes]]:
        return FIXED

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = list(seeds)[rng.integers(len(seeds))]
        stem, _, suffix = name.partition(".")
        if rng.integers(3) == 0:
            if suffix == "zip":
                return Case(f"edited-{name}", _edited_zip(rng))
            tar = seeds[f"{stem}.tar"]
            edited = _edited_tar(rng, tar) if rng.integers(2) else mutations.mutated(rng, tar, [])
            return Case(f"edited-{name}", PACKERS[f".{suffix}"](edited))
        return Case(name, mutations.mutated(rng, seeds[name], list(seeds.values())))

    def setup(self, shared: Path) -> None:
        self.params = schema.load(shared / "project" / "params.yaml")

    def check(self, case: Case, folder: Path) -> None:
        archive = folder / case.name
        archive.write_bytes(case.content)
        data = Data(train=(str(archive),), test=("sample",))
        STAGES["download"](Project(), self.params.model_copy(update={"data": data}))
        raw = folder / "data" / "raw"
        images = {path.read_bytes() for path in raw.glob("train/**/*") if path.is_file()}
        assert images
        checked = not case.name.startswith("edited-") and case.name.split(".", 1)[1] in ("zip", "tar.gz", "tar.xz", "tar.bz2")
        if checked and case.name not in FIXED:
            known = set(members().values()) | {b"long name"}
            if images - known:
                raise SilentlyAccepted(f"{len(images - known)} of {len(images)} files are others than were packed")


def _edited_zip(rng: np.random.Generator) -> bytes:
    """Odd names and attributes; or a directory that does not agree with the entries."""
    entries = list(members().items())
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(entries)))
        entries[place] = NAMES[rng.integers(len(NAMES))], entries[place][1]
    mode = int(rng.choice([0o100644, 0o120777, 0o020644, 0o040755, 0o010644, 0]))
    content = _zip(entries, int(rng.choice([0, 8, 12, 14])), mode)
    if rng.integers(2):  # in the directory alone
        start = content.find(b"PK\1\2")
        return content[:start] + mutations.flip(rng, content[start:])
    return content


def _edited_tar(rng: np.random.Generator, content: bytes) -> bytes:
    """One to three headers: a field replaced, the checksum right."""
    data = bytearray(content)
    headers = [place for place in range(0, len(data) - 511, 512) if data[place + 257 : place + 262] == b"ustar"]
    for _ in range(rng.integers(1, 4)):
        start = headers[rng.integers(len(headers))]
        match rng.integers(4):
            case 0:
                name = NAMES[rng.integers(len(NAMES))].encode()[:100]
                data[start : start + 100] = name.ljust(100, b"\0")
            case 1:  # its size
                size = int(rng.choice([0, 1, 511, 512, 513, 10**6, 8**11 - 1]))
                data[start + 124 : start + 136] = f"{size:011o}\0".encode() if rng.integers(4) else b"\xff" * 12
            case 2:  # its type
                data[start + 156] = int(rng.choice(list(b"0123456789xgLKSDNV\0")))
            case _:
                place, length = ((100, 8), (136, 12), (157, 100), (345, 155))[rng.integers(4)]
                data[start + place : start + place + length] = rng.bytes(length)
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = f"{sum(data[start : start + 512]):06o}\0 ".encode()
    return bytes(data)


# -- made by hand ----------------------------------------------------------------------------------------------------------


def _zip_of_empty_files(count: int) -> bytes:
    """As `zipfile` writes it, but in a second: all entries are the same, but for the digits in their names."""
    names = np.char.zfill(np.arange(count).astype("S8"), 8)
    numbers = np.frombuffer(b"".join(names.tolist()), np.uint8).reshape(count, 8)
    local = np.frombuffer(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0x21, 0, 0, 0, 12, 0) + b"00000000.png", np.uint8)
    entries = np.tile(local, (count, 1))
    entries[:, 30:38] = numbers
    header = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0x21, 0, 0, 0, 12, 0, 0, 0, 0, 0o100644 << 16, 0)
    directory = np.tile(np.frombuffer(header + b"00000000.png", np.uint8), (count, 1))
    directory[:, 46:54] = numbers
    offsets = (np.arange(count, dtype="<u4") * entries.shape[1]).view(np.uint8).reshape(count, 4)
    directory[:, 42:46] = offsets
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, directory.size, entries.size)
    locator = struct.pack("<IIQI", 0x07064B50, 0, entries.size + directory.size, 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return entries.tobytes() + directory.tobytes() + end64 + locator + end


def _pax_bomb() -> bytes:
    """A header of 200 MB, which packs well."""
    return gzip.compress(_tar([("x.png", b"x")], pax_headers={"comment": "a" * 200_000_000}), 1)


def _sparse() -> bytes:
    """One file of 1 TB that has no content (GNU's old form)."""
    header = bytearray(_tar([("huge.png", b"")], tarfile.GNU_FORMAT)[:512])
    header[156] = ord("S")
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def _large_dictionary() -> bytes:
    """XZ that asks for a dictionary of 512 MB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
    data = bytearray(lzma.compress(_tar(list(members().items())), lzma.FORMAT_XZ, filters=filters))
    # The block header: its size, flags, filter's id, size of the properties, and the size of the dictionary as 2^29.
    data[16] = 34
    data[20:24] = struct.pack("<I", zlib.crc32(bytes(data[12:20])))
    return bytes(data)


def _bomb(suffix: str) -> Callable[[], bytes]:
    def made() -> bytes:
        content = bytes(200_000_000)
        return _zip([("x.png", content)]) if suffix == ".zip" else PACKERS[suffix](_tar([("x.png", content)]))

    return made


def _one(name: str, suffix: str) -> Callable[[], bytes]:
    entries = [(name, b"x"), ("good.png", b"y")]
    return lambda: _zip(entries) if suffix == ".zip" else _tar(entries)


def _linked(kind: bytes) -> Callable[[], bytes]:
    """A link to a folder outside, then a file below the link."""
    return lambda: _tar([("out.png", b"")], kind=kind, linkname="/tmp")[:512] + _tar([("out.png/x.png", b"x")])


FIXED: dict[str, Callable[[], bytes]] = {
    "million-and-a-half.zip": lambda: _zip_of_empty_files(1_500_000),
    "header-bomb.tar.gz": _pax_bomb,
    "sparse.tar": _sparse,
    "large-dictionary.tar.xz": _large_dictionary,
    "bomb.zip": _bomb(".zip"),
    "bomb.tar.gz": _bomb(".tar.gz"),
    "bomb.tar.xz": _bomb(".tar.xz"),
    "bomb.tar.bz2": _bomb(".tar.bz2"),
    "same-name-twice.zip": lambda: _zip([("x.png", b"1"), ("x.png", b"2")]),
    "same-name-twice.tar": lambda: _tar([("x.png", b"1"), ("x.png", b"2")]),
    "file-as-folder.zip": lambda: _zip([("x.png", b"1"), ("x.png/y.png", b"2")]),
    "file-as-folder.tar": lambda: _tar([("x.png", b"1"), ("x.png/y.png", b"2")]),
    "link.tar": _linked(tarfile.SYMTYPE),
    "hard-link.tar": _linked(tarfile.LNKTYPE),
    "device.tar": lambda: _tar([("x.png", b"")], kind=tarfile.CHRTYPE),
    "fifo.tar": lambda: _tar([("x.png", b"")], kind=tarfile.FIFOTYPE),
    "not-utf-8.tar": lambda: _tar([("\udcff\udcfe.png", b"x")], tarfile.GNU_FORMAT),
    "empty.zip": lambda: _zip([]),
    "empty.tar": lambda: bytes(10240),
    **{f"name-{number}.zip": _one(name, ".zip") for number, name in enumerate(NAMES)},
    **{f"name-{number}.tar": _one(name, ".tar") for number, name in enumerate(NAMES)},
}
