"""What a training leaves behind while it runs, and what a later one makes of it."""

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from srgan.commands import main
from srgan.models.checkpoints import load_generator
from srgan.training import checkpoint
from srgan.training.checkpoint import Checkpoints
from srgan.utils.csv_table import Table
from srgan.utils.errors import SrganError
from tests.helpers.commands import run, wait_for
from tests.helpers.project import runtime, write_params
from tests.training.test_trainer import equal, newest

LONG = {"pretrain.steps": 100_000} | runtime("pretrain", log_every=20, validate_every=100_000, checkpoint_every=20)


def trained_a_while(project, changes, after=19):
    """Run the command, and stop it at a checkpoint later than `after`. Return its messages and the step of its last checkpoint."""
    write_params(project, LONG | changes)
    began, states = time.time(), project / "checkpoints" / "pretrain"  # which may hold states of an earlier run

    def written(path):
        return path.stat().st_mtime if path.exists() else 0.0

    def step(path):
        return int(path.stem[5:])

    def stop():
        wait_for(lambda: any(written(path) > began and step(path) > after for path in states.glob("step-*.pt")))
        os.kill(os.getpid(), signal.SIGTERM)

    done = run("srgan", "pretrain", cwd=project, check=False, meanwhile=stop)
    assert done.returncode == 143, done.stderr
    return done.stderr, newest(project)


@pytest.mark.slow
def test_a_half_done_training_comes_back_after_a_change_of_what_it_learns(copy_of_project):
    _, step = trained_a_while(copy_of_project, {})
    told, _ = trained_a_while(copy_of_project, {"pretrain.learning_rate": 0.5e-3})
    assert "checkpoints of a run with other parameters or data moved to checkpoints/pretrain/set-aside/" in told
    assert "resumes after step" not in told
    told, _ = trained_a_while(copy_of_project, {}, step)
    assert f"resumes after step {step}\n" in told


def test_a_half_done_training_survives_a_change_of_how_it_runs(copy_of_project):
    _, step = trained_a_while(copy_of_project, {})
    cadence = runtime("pretrain", log_every=7, validate_every=50, checkpoint_every=31, rollbacks=1)
    told, _ = trained_a_while(copy_of_project, cadence, step)
    assert f"resumes after step {step}\n" in told


def resumed(folder, signature, every=1):
    """The states that a run finds, and the step it goes on after."""
    found = []
    with Checkpoints(folder, signature, every) as checkpoints:
        return checkpoints.resume(found.append), found


def saved(folder, signature, *steps, every=1):
    with Checkpoints(folder, signature, every) as checkpoints:
        checkpoints.resume(lambda state: None)
        for step in steps:
            checkpoints.save(step, {"of": signature, "x": torch.arange(1000.0) * step})


def test_runs_that_are_set_aside_do_not_mix(tmp_path):
    for number in range(3):  # of one step each, as names go
        saved(tmp_path, f"{number}" * 64, 4, 5)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.pt"))] == [
        *(f"set-aside/{str(number) * 12}/step-0000000{step}.pt" for number in (0, 1) for step in (4, 5)),
        "step-00000004.pt",
        "step-00000005.pt",
    ]
    for number in (0, 2, 1, 0):
        step, (state,) = resumed(tmp_path, f"{number}" * 64)
        assert (step, state["of"]) == (5, f"{number}" * 64)


def test_only_the_most_recent_runs_are_kept_aside_and_what_is_deleted_is_named(tmp_path, caplog):
    caplog.set_level("INFO")
    for number in range(6):
        saved(tmp_path, f"{number}" * 64, 4)
        for path in tmp_path.rglob("*.pt"):
            if path.parent == tmp_path:
                os.utime(path, (number, number))
    assert sorted(path.name for path in (tmp_path / "set-aside").iterdir()) == [f"{number}" * 12 for number in (2, 3, 4)]
    for number in (0, 1):
        assert f"set-aside/{str(number) * 12}: deleted" in caplog.text
    assert resumed(tmp_path, "0" * 64) == (0, [])


def test_checkpoints_that_a_former_version_set_aside_are_found(tmp_path):
    saved(tmp_path, "a" * 64, 7)
    (tmp_path / "set-aside").mkdir()
    (tmp_path / "step-00000007.pt").rename(tmp_path / "set-aside" / "step-00000007.pt")
    saved(tmp_path, "b" * 64, 3)
    assert resumed(tmp_path, "a" * 64)[0] == 7
    assert resumed(tmp_path, "b" * 64)[0] == 3


def test_a_changed_interval_leaves_something_to_go_back_to(tmp_path):
    saved(tmp_path, "s", 0, 20, 40, 50, every=20)
    with Checkpoints(tmp_path, "s", 33) as checkpoints:
        checkpoints.resume(lambda state: None)
        assert checkpoints.go_back(50, lambda state: None) == 40
        for step in (66, 99, 132):
            checkpoints.save(step, {})
    assert [path.stem for path in sorted(tmp_path.glob("step-*"))] == ["step-00000099", "step-00000132"]


def flipped(content, random):
    position = random.integers(len(content))
    return content[:position] + bytes([content[position] ^ 1 << random.integers(8)]) + content[position + 1 :]


def zeroed(content, random):
    sector = random.integers(len(content) // 512) * 512
    return content[:sector] + bytes(512) + content[sector + 512 :]


@pytest.mark.parametrize("damage", [flipped, zeroed])
def test_no_damage_makes_another_state(tmp_path, damage, caplog):
    """One bit, or one sector: the file is passed over for the one before it, or the state is the one that was written."""
    random = np.random.default_rng(0)
    saved(tmp_path, "s", 1, 2)
    path = tmp_path / "step-00000002.pt"
    content, passed_over = path.read_bytes(), 0
    for _ in range(150):
        path.write_bytes(damage(content, random))
        step, (state,) = resumed(tmp_path, "s")
        assert torch.equal(state["x"], torch.arange(1000.0) * step)
        passed_over += step == 1
        assert caplog.text.count("step-00000002.pt: damaged") == (step == 1)
        caplog.clear()
    assert passed_over > 75
    assert len(list(tmp_path.glob("*.damaged"))) <= checkpoint.MAX_DAMAGED


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_ends_no_training(tmp_path, monkeypatch, caplog, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    saved(tmp_path, "s", 1)
    assert resumed(tmp_path, "s")[0] == 1
    assert "no file locks" in caplog.text


def test_a_full_disk_is_named_and_the_training_goes_on_once_there_is_room(copy_of_project, monkeypatch, capsys, caplog):
    monkeypatch.chdir(copy_of_project)
    write_params(copy_of_project, {"pretrain.learning_rate": 0.5e-3})

    def full(path, data):
        if path.name.startswith(".step-00000004"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(path, data)

    written = Path.write_bytes
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Path, "write_bytes", full)
        main.main(["pretrain"])
    expected = r"error: checkpoints/pretrain/step-00000004.pt: No space left on device; its disk has [\d,]+ MB free; make room, then run"
    assert re.search(expected, capsys.readouterr().err)
    caplog.set_level("INFO")
    main.main(["pretrain"])
    assert "resumes after step 2" in caplog.text


def test_a_full_disk_is_named_at_a_row_of_a_table(tmp_path, monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda *_, **__: Full())
    with pytest.raises(OSError, match=r"No space left on device: '.*pretrain\.csv'"):
        Table(tmp_path / "pretrain.csv", [{"step": 1}])


@pytest.mark.slow
def test_a_training_by_hand_leaves_the_cache_of_dvc_alone(copy_of_project):
    """With hard links, which DVC advises for large data, a file that is opened for writing is the cache's own."""
    run("dvc", "config", "cache.type", "hardlink", cwd=copy_of_project)
    run("dvc", "checkout", "--relink", cwd=copy_of_project)
    assert (copy_of_project / "reports" / "pretrain.csv").stat().st_nlink == 2
    write_params(copy_of_project, {"pretrain.learning_rate": 0.5e-3})
    run("srgan", "pretrain", cwd=copy_of_project)
    for path in (copy_of_project / ".dvc" / "cache" / "files" / "md5").glob("*/*"):
        if path.suffix != ".dir":
            assert hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name


def test_damaged_pixels_end_a_training_before_it_learns_for_good(copy_of_project):
    store, good = copy_of_project / "data" / "prepared" / "train" / "00000.u8", copy_of_project / "models" / "pretrained.safetensors"
    content, times, expected = store.read_bytes(), store.stat(), good.read_bytes()
    index = json.loads(store.with_suffix(".json").read_text())["images"]
    place = index[2]["offset"] + 3 * index[2]["height"] * index[2]["width"]  # its first LR pixel
    store.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    os.utime(store, ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time as before: DVC sees no change
    good.unlink()
    done = run("srgan", "pretrain", cwd=copy_of_project, check=False)
    assert done.returncode == 1
    expected_words = f"image {index[2]['name']} of data/prepared/train/00000.u8 is damaged. Make it again with: dvc repro -f prepare\n"
    assert done.stderr.endswith(f"srgan pretrain: error: {expected_words}")
    assert not good.exists()
    assert newest(copy_of_project) == 0  # no checkpoint holds what was learned from them
    store.write_bytes(content)
    run("srgan", "pretrain", cwd=copy_of_project)
    assert good.read_bytes() == expected


def test_damaged_weights_reach_no_later_stage(copy_of_project):
    path = copy_of_project / "models" / "generator.safetensors"
    whole, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    expected, metadata = load_generator(path, made_by="train")
    for _ in range(100):
        path.write_bytes(flipped(whole, random))
        try:
            found, known = load_generator(path, made_by="train")
        except SrganError as error:
            assert str(path) in str(error)
            refused += 1
        else:  # blanks at the header's end
            assert known == metadata
            assert equal(found, expected)
    assert refused > 90
    for command in ("export", "evaluate"):
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
        done = run("srgan", command, cwd=copy_of_project, check=False)
        assert done.returncode == 1
        assert "models/generator.safetensors: damaged (its digest differs). Restore it with dvc checkout or" in done.stderr
    done = run("srgan", "interpolate", path, path, "--alpha", "0.5", "-o", "mixed.safetensors", cwd=copy_of_project, check=False)
    assert "damaged (its digest differs)" in done.stderr
