"""Files and folders that appear whole: what kills, other containers, planted links and full disks leave behind."""

import errno
import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from srgan.utils import files
from srgan.utils.files import atomic_file, atomic_folder, final_name, scratch_file, write_text
from tests.helpers.commands import environment, run
from tests.helpers.project import write_params

# Replaces the folder `out`, and kills itself before or after the n-th renaming.
KILLED = """
import os, signal, sys
from itertools import count
from pathlib import Path
from srgan.utils.files import atomic_folder
count, when = 0, int(sys.argv[1])
real = Path.replace
def replace(self, target):
    global count
    for moment in ("before", "after"):
        count += 1
        if count == when:
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "before":
            result = real(self, target)
    return result
Path.replace = replace
with atomic_folder("out") as folder:
    for number in range(3):
        (folder / f"new{number}").write_text("new")
"""
WAITS = """
import os, sys
from itertools import count
from pathlib import Path
from srgan.utils.files import atomic_folder, atomic_file
label, count = sys.argv[1], int(sys.argv[2])
with atomic_folder("out") as folder, atomic_file("file") as file:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    for number in range(count):
        (folder / str(number)).write_text(label)
    file.write_text(label)
"""


def python(code, *arguments, cwd, **options):
    command = [*options.pop("before", []), sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=environment(), text=True, **options)


@pytest.mark.parametrize("when", range(1, 7))
def test_a_kill_at_any_renaming_leaves_the_old_or_the_new_folder(tmp_path, when):
    (tmp_path / "out").mkdir()
    for number in range(2):
        (tmp_path / f"out/old{number}").write_text("old")
    process = python(KILLED, when, cwd=tmp_path)
    assert process.wait(60) == (-9 if when < 6 else 0)
    write_text(tmp_path / "another", "the next program that writes there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) in (["old0", "old1"], ["new0", "new1", "new2"])
    assert python(KILLED, 99, cwd=tmp_path).wait(60) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "out"]


def _namespaces():
    command = ["unshare", "--pid", "--fork", "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("before", [[], ["unshare", "--pid", "--fork"]], ids=["processes", "containers"])
def test_two_writers_of_one_folder_do_not_mix(tmp_path, before):
    """In two containers on one volume both have the number 1."""
    if before and not _namespaces():
        pytest.skip("no permission to make a namespace")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [python(WAITS, label, written, cwd=tmp_path, before=before, **pipes) for label, written in (("first", 20), ("second", 4))]
    numbers = [int(writer.stdout.readline()) for writer in writers]
    assert numbers == [1, 1] or not before
    write_text(tmp_path / "another", "a third program, which sweeps nothing of theirs")
    for writer, written, label in zip(writers, (20, 4), ("first", "second"), strict=True):
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
        assert [path.read_text() for path in (tmp_path / "out").iterdir()] == [label] * written
        assert (tmp_path / "file").read_text() == label
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "file", "out"]


def test_what_a_killed_process_left_is_swept_whoever_comes_next(tmp_path):
    writer = python(WAITS, "killed", 3, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdout.readline()
    assert len(list(tmp_path.iterdir())) == 2
    writer.kill()
    writer.communicate()
    (tmp_path / ".mine.4711.tmp").touch()
    (tmp_path / "out.host-0123456789ab.tmp").touch()
    write_text(tmp_path / "another", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.4711.tmp", "another", "out.host-0123456789ab.tmp"]


def test_without_locks_only_what_is_old_is_swept(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    for name, age in (("new", 3600), ("old", 90000)):
        (tmp_path / f".{name}.host-0123456789ab.tmp").mkdir()
        os.utime(tmp_path / f".{name}.host-0123456789ab.tmp", (0, files.time.time() - age))
    write_text(tmp_path / "file", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.host-0123456789ab.tmp", "file"]


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    tokens = count()
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: f"{next(tokens):012x}")  # as if it could be guessed
    (tmp_path / f".big.png.{files.HOST}-{'0' * 12}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "big.png", "result")
    write_text(tmp_path / "big.png", "result")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "big.png").is_symlink()
    write_text(tmp_path / "big.png", "replaced")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("writer", [atomic_file, atomic_folder])
def test_too_many_open_files_are_an_error_and_leave_nothing(tmp_path, monkeypatch, writer):
    write_text(tmp_path / "another", "")
    real, calls = os.open, count()

    def refused(*arguments, **options):
        if next(calls) == (writer is atomic_file):  # the first call makes the file
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(*arguments, **options)

    monkeypatch.setattr(files.os, "open", refused)
    with pytest.raises(OSError, match="Too many open files"), writer(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_messages_name_the_final_file(tmp_path):
    a, b, c = (tmp_path / name for name in ("a.png", "b.png", "c"))
    with scratch_file(a, "pixels") as scratch, atomic_file(b) as file, atomic_folder(c) as folder:
        for temporary, path in ((scratch, a), (file, b), (folder, c)):
            assert re.fullmatch(r"\..+-[0-9a-f]{12}\.tmp", temporary.name)
            assert final_name(f"{temporary}: no") == f"{path}: no"
        assert final_name(f"{folder}.former/x") == f"{c}/x"


def test_bytes_and_names_reach_the_disk_before_and_after_the_renaming(tmp_path, monkeypatch):
    done = []
    for module, name in ((os, "fsync"), (Path, "replace")):
        real = getattr(module, name)

        def noted(first, *rest, real=real, name=name):
            place = Path(f"/proc/self/fd/{first}").readlink() if name == "fsync" else str(first)
            done.append((name, Path(place).name.split("-")[0]))
            return real(first, *rest)

        monkeypatch.setattr(module, name, noted)
    write_text(tmp_path / "file", "text")
    temporary = f".file.{files.HOST}"
    assert done == [("fsync", temporary), ("replace", temporary), ("fsync", tmp_path.name)]


@pytest.mark.slow  # test_main.py limits the size of a file instead, without a mount
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/self/ns/mnt").exists(), reason="mounts a file system")
@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("mount -t tmpfs -o size=64k none data", "data/raw/train/sample/brick.png: No space left on device; its disk has 0 MB free"),
        ("mount -t tmpfs -o ro none data", "data/raw: Read-only file system"),
    ],
)
def test_a_full_or_read_only_disk_is_named(tmp_path, mount, said):
    write_params(tmp_path)
    (tmp_path / "data").mkdir()
    failed = run("unshare", "--mount", "sh", "-c", f"{mount} && srgan download", cwd=tmp_path, check=False)
    assert failed.returncode == 1
    assert f"srgan download: error: {said}" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr
