"""Archives from strangers."""

import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from srgan.data.download import archives as module
from srgan.data.download.archives import BadArchive, is_archive
from srgan.data.left_out import LeftOut
from srgan.utils.errors import SrganError
from tests.fuzz.archives import FIXED

TYPES = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}


def make(path, members, kind):
    """An archive of `members`: name -> content, or a type of tar entry."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (stat.S_IFLNK if content == "link" else stat.S_IFREG | 0o644) << 16
                archive.writestr(info, "/etc/passwd" if content == "link" else content)
    else:
        with tarfile.open(path, f"w:{kind}") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                if isinstance(content, str):
                    info.type = TYPES[content]
                    info.linkname = "/etc/passwd"
                    archive.addfile(info)
                else:
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return path


def everything(name):
    return name


def unpack(archive, folder, wanted, left_out=None):
    """The written files below `folder`."""
    before = {path for path in folder.rglob("*") if path.is_file()}
    module.unpack(archive, folder, wanted, left_out or LeftOut())
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path not in before)


KINDS = ["zip", "gz", "xz", "bz2", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_wanted_files_come_out_whole(tmp_path, kind):
    archive = make(tmp_path / "archive", {"a/x.png": b"one" * 1000, "a/b/y.png": b"two", "readme.txt": b"no"}, kind)
    (tmp_path / "out").mkdir()
    written = unpack(archive, tmp_path / "out", lambda name: name if name.endswith(".png") else None)
    assert written == ["a/b/y.png", "a/x.png"]
    assert (tmp_path / "out/a/x.png").read_bytes() == b"one" * 1000
    assert not (tmp_path / "out/readme.txt").exists()


@pytest.mark.parametrize("kind", ["zip", "gz"])
@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/tmp/x.png", "..\\x.png", "C:\\x.png", "C:/x.png"])
def test_a_path_that_leads_outside_refuses_the_archive(tmp_path, kind, name):
    archive = make(tmp_path / "archive", {"good.png": b"1", name: b"2"}, kind)
    (tmp_path / "out").mkdir()
    with pytest.raises(BadArchive, match=r"leads outside\. It is not unpacked"):
        unpack(archive, tmp_path / "out", everything)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(("kind", "entry"), [("zip", "link"), ("gz", "link"), ("gz", "hard"), ("gz", "device"), ("gz", "fifo")])
def test_links_and_devices_are_left_out_and_counted(tmp_path, kind, entry):
    archive = make(tmp_path / "archive", {"x.png": entry, "y.png": b"real"}, kind)
    (tmp_path / "out").mkdir()
    left_out = LeftOut()
    assert unpack(archive, tmp_path / "out", everything, left_out) == ["y.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["y.png"]
    assert left_out.counts == {"a link or a device in the archive": 1}


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "MIN_LIMIT_BYTES", 1 << 20)
    archive = make(tmp_path / "archive", {"x.png": bytes(50_000_000)}, kind)
    (tmp_path / "out").mkdir()
    with pytest.raises(BadArchive, match="unpacks to more than"):
        unpack(archive, tmp_path / "out", everything)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 8_000_000


def test_a_zip_whose_list_of_entries_is_huge_is_refused_before_it_is_read(tmp_path):
    """100 MB of memory instead of 600."""
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", b"1")
    content = archive.read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    count = 40_000_000 // (end - start)
    directory = content[start:end] * count
    tail = bytearray(content[end:])
    tail[8:12] = b"\xff\xff\xff\xff"  # the number of entries; Python does not look at it
    tail[12:16] = len(directory).to_bytes(4, "little")
    archive.write_bytes(content[:start] + directory + tail)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    with pytest.raises(BadArchive, match=r"its list of entries takes 40 MB, more than 34 MB\. It is not unpacked\. Unpack it yourself"):
        unpack(archive, tmp_path / "out", everything)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_name_that_is_too_long_costs_its_image_only(tmp_path, kind):
    archive = make(tmp_path / "archive", {"x" * 300 + ".png": b"1", "y.png": b"2"}, kind)
    (tmp_path / "out").mkdir()
    left_out = LeftOut()
    assert unpack(archive, tmp_path / "out", everything, left_out) == ["y.png"]
    assert left_out.counts == {"a name that is too long": 1}


def test_too_many_entries_and_twice_the_same_name(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("x.png"))
    with pytest.raises(BadArchive, match=r"holds 'x\.png' twice"):
        unpack(tmp_path / "twice.tar", tmp_path / "out", everything)
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    archive = make(tmp_path / "many", {f"{number}.txt": b"" for number in range(5)}, "zip")
    with pytest.raises(BadArchive, match="more than 3 entries"):
        unpack(archive, tmp_path / "out", lambda _: None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_is_told_by_name(tmp_path, kind):
    archive = make(tmp_path / "archive", {f"{n}.png": bytes(range(256)) * 400 for n in range(5)}, kind)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    (tmp_path / "out").mkdir()
    with pytest.raises(SrganError, match="archive: cannot be unpacked"):
        unpack(archive, tmp_path / "out", everything)


@pytest.mark.parametrize("kind", ["", "gz", "xz"])
@pytest.mark.parametrize("damage", ["cut at a file", "cut in a header", "no end", "bad header", "bad checksum"])
def test_a_tar_that_ends_early_is_not_taken_for_a_short_one(tmp_path, kind, damage):
    plain = make(tmp_path / "plain", {f"{n}.png": bytes(range(256)) * 4 for n in range(6)}, "").read_bytes()
    size = 512 + 1024  # of a file with its header
    damaged = {
        "cut at a file": plain[: 3 * size],
        "cut in a header": plain[: 3 * size + 200],
        "no end": plain[: 6 * size],
        "bad header": plain[: 3 * size] + b"x" + plain[3 * size + 1 :],
        "bad checksum": plain,
    }[damage]
    packed = {"": bytes, "gz": gzip.compress, "xz": lzma.compress}[kind](damaged)
    if damage == "bad checksum":
        if kind != "gz":
            return
        packed = packed[:-8] + b"abcd" + packed[-4:]
    (tmp_path / "archive").write_bytes(packed)
    (tmp_path / "out").mkdir()
    with pytest.raises(BadArchive, match="archive: cannot be unpacked"):
        unpack(tmp_path / "archive", tmp_path / "out", everything)


def test_a_bomb_in_a_header_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_LIMIT_BYTES", 1 << 20)
    archive = make(tmp_path / "archive", {"x" * 60_000_000 + ".png": b""}, "gz")
    (tmp_path / "out").mkdir()
    with pytest.raises(BadArchive, match="unpacks to more than"):
        unpack(archive, tmp_path / "out", everything)


def test_a_file_of_one_terabyte_without_content_is_not_written(tmp_path):
    (tmp_path / "archive").write_bytes(FIXED["sparse.tar"]())
    (tmp_path / "out").mkdir()
    with pytest.raises(BadArchive, match="unpacks to more than"):
        unpack(tmp_path / "archive", tmp_path / "out", everything)
    assert not list((tmp_path / "out").iterdir())


def test_a_zip_at_the_end_of_a_tar_is_a_file_of_it(tmp_path):
    inner = make(tmp_path / "inner.zip", {"no.png": b"no"}, "zip").read_bytes()
    archive = make(tmp_path / "archive.tar", {"a.png": b"yes", "z.zip": inner}, "")
    (tmp_path / "out").mkdir()
    assert unpack(archive, tmp_path / "out", lambda name: name if name.endswith(".png") else None) == ["a.png"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK", b"<html>not here</html>" * 100])
def test_what_is_no_archive_is_told_in_one_line(tmp_path, content):
    (tmp_path / "archive.zip").write_bytes(content)
    with pytest.raises(BadArchive, match=r"archive\.zip: cannot be unpacked") as caught:
        unpack(tmp_path / "archive.zip", tmp_path, everything)
    assert "\n" not in str(caught.value)


def test_names_of_archives():
    assert all(is_archive(name) for name in ("a.zip", "A.ZIP", "x.tar.gz", "x.tgz", "x.tar"))
    assert not any(is_archive(name) for name in ("a.png", "a.gz", "zip"))
