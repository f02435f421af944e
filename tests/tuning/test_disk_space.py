"""Disk use: what `srgan plan` says of it, and copies that share their blocks."""

import os
import re
from pathlib import Path

import pytest

from srgan.commands import main
from srgan.config import schema
from srgan.config.project import Project
from srgan.data.choice import choose
from srgan.tuning import disk_space, estimate
from srgan.utils import files
from tests.helpers.commands import run
from tests.helpers.project import write_params


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_plan_tells_what_the_data_takes_and_whether_there_is_room(tmp_path, monkeypatch, capsys):
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "plan", lambda *_, **__: "")
    main.main(["plan"])
    assert "disk: data/raw 5 MB, data/prepared about " in capsys.readouterr().out
    for stage in ("download", "prepare"):
        run("srgan", stage, cwd=tmp_path)
    images, prepared, unknown = disk_space._of_images(Project(), schema.load(Path("params.yaml")))
    assert unknown == []
    assert images == pytest.approx(size(tmp_path / "data/raw"), rel=0.02)
    assert prepared == pytest.approx(size(tmp_path / "data/prepared"), rel=0.1)
    monkeypatch.setattr(files, "free_space", lambda _: 10e6)
    main.main(["plan"])
    said = capsys.readouterr().out
    assert "10 MB are free: too little for about" in said
    more = int(re.search(r"about ([\d,]+) MB more", said)[1])
    assert more == pytest.approx((images + 2 * prepared) / 1e6, abs=2)  # the downloaded images are there already
    next(path for path in Path("data/raw/train").rglob("*.png")).write_bytes(b"damaged")
    main.main(["plan"])
    assert "disk: data/raw " in capsys.readouterr().out


def test_sizes_that_nobody_states_are_named(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.png").write_bytes(bytes(3_000_000))
    loaded = schema.load(write_params(tmp_path, {"data.train": [str(tmp_path / "mine"), "https://example.org/street.zip"]}))
    said = disk_space.plan(Project(tmp_path), loaded)
    assert disk_space._of_names(Project(tmp_path), loaded)[0] == 3_000_000 + disk_space._stated(choose(loaded.data.test, "test")[0], "test")
    assert "not counted, as their size is not known before the download: street" in said


def test_of_a_folder_with_both_splits_each_counts_once(tmp_path):
    for part, size in (("train", 5000), ("test", 70)):
        (tmp_path / "mine" / part).mkdir(parents=True)
        (tmp_path / "mine" / part / "a.png").write_bytes(bytes(size))
    loaded = schema.load(write_params(tmp_path, {"data.train": [str(tmp_path / "mine")], "data.test": [str(tmp_path / "mine")]}))
    assert disk_space._of_names(Project(tmp_path), loaded)[0] == 5070


def test_a_copy_shares_the_disk_where_it_can_and_is_never_a_hard_link(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    files.copy(source, target)
    assert target.read_bytes() == b"content"
    assert source.stat().st_nlink == 1
    calls = []

    def clone(ours, request, theirs):  # as Btrfs does it
        calls.append(request)
        os.write(ours.fileno(), os.pread(theirs, 100, 0))

    monkeypatch.setattr(files.fcntl, "ioctl", clone)
    monkeypatch.setattr(files.shutil, "copyfile", None)  # would fail if called
    files.copy(source, target)
    assert target.read_bytes() == b"content"
    assert calls == [0x40049409]
