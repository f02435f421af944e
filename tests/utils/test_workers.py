"""`srgan prepare` with images that hang or crash the program that reads them, and with processes that are killed."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from srgan.data.prepare import prepare
from srgan.utils import workers
from srgan.utils.workers import Lost, Workers
from tests.data.test_prepare import PLAIN, everything, make_raw, options, picture
from tests.helpers.commands import environment
from tests.helpers.project import write_params

# `srgan prepare` where images are read by a function that does harm, as a fault in a decoder would.
HARMFUL = """
import os, re, signal, sys, time
from srgan.commands import main as cli
from srgan.utils import workers
from srgan.data import prepare_image
read = prepare_image.read_image
def harmful(path):
    if path.stem == "hangs":
        re.fullmatch("(a+)+", "a" * 60 + "b")  # for years, with Python's lock held
    if path.stem == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "large":
        raise MemoryError
    return read(path)
prepare_image.read_image, workers.MAX_SECONDS_PER_ITEM = harmful, float(sys.argv[1])
cli.main(["prepare", *sys.argv[2:]])
"""


def start(folder, seconds, processes=2):
    command = [sys.executable, "-c", HARMFUL, str(seconds), "--processes", str(processes)]
    return subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)


@pytest.fixture
def folder(tmp_path):
    write_params(tmp_path, {"prepare.max_unreadable": 3})
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_image_that_hangs_or_crashes_is_skipped_by_name(folder, tmp_path, processes):
    bad = {f"train/own/{name}.png": picture(number) for number, name in enumerate(("crashes", "hangs", "large"), 200)}
    make_raw(folder / "data/raw", bad | PLAIN)
    process = start(folder, 1.5, processes)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "skipped train/own/hangs.png: takes more than 1.5 s" in said
    assert "skipped train/own/crashes.png: crashes the process that works on it (SIGSEGV)" in said
    assert "skipped train/own/large.png: takes more memory than is free" in said
    manifest = json.loads((folder / "data/prepared/manifest.json").read_text())
    assert len(manifest["images"]) == len(PLAIN)
    assert len(manifest["skipped"]) == 3


@pytest.mark.slow  # test_prepare.py kills a command that is not stuck
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command_whatever_it_does(folder, number):
    make_raw(folder / "data/raw", {"test/own/hangs.png": picture(7)} | PLAIN)
    process = start(folder, 1000)
    end = time.monotonic() + 60
    while not (busy := [child for child in psutil.Process(process.pid).children() if child.cpu_times().user > 0.5]):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert len(busy) == 1
    children = psutil.Process(process.pid).children()
    process.send_signal(number)
    process.wait(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    process.stderr.close()


@pytest.mark.slow
def test_a_process_that_is_killed_changes_no_bit(folder, tmp_path):
    raw = make_raw(folder / "data/raw", {f"train/own/{n}.png": picture(n, 400, 500) for n in range(8)} | {"test/own/t.png": picture(99)})
    process = subprocess.Popen(["srgan", "prepare", "--processes", "3"], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(workers := psutil.Process(process.pid).children()) < 3 or not list((folder / "data").glob(".prepared.*/.*.u8")):
        assert time.monotonic() < end
        time.sleep(0.01)
    workers[2].kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "skipped" not in said
    prepare(raw, tmp_path / "undisturbed", options(max_unreadable=3), 2)
    assert everything(folder / "data/prepared") == everything(tmp_path / "undisturbed")


def killed(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 2


def test_an_item_whose_process_is_killed_again_and_again_is_lost():
    with Workers(killed, 2) as workers:
        results = list(workers.map(range(6)))
        assert list(workers.map([5, 4])) == [10, 8]
    assert results[:3] + results[4:] == [0, 2, 4, 8, 10]
    assert results[3] == Lost(3, "its process was killed 2 times (SIGKILL), perhaps for lack of memory")


def test_an_error_in_a_process_is_raised_where_the_results_are_taken():
    def failing(number):
        raise OSError(28, "No space left on device", "/full/image.png")

    with Workers(failing, 2) as workers, pytest.raises(OSError, match=r"No space left on device: '/full/image\.png'") as caught:
        list(workers.map([1]))
    assert "in failing" in caught.value.__notes__[0]


class Image:
    """As one of libvips: freed in a fork, it waits for a lock that a thread of another process holds."""

    def __init__(self):
        self.owner, self.itself = os.getpid(), self

    def __del__(self):
        if os.getpid() != self.owner:
            time.sleep(1000)


def collected(item):
    gc.collect()
    return item


def test_what_a_process_inherits_is_not_freed_there(monkeypatch):
    monkeypatch.setattr(workers, "MAX_SECONDS_PER_ITEM", 3)
    Image()  # only the garbage collector frees it
    with Workers(collected, processes=1) as each:
        assert list(each.map([1, 2])) == [1, 2]
    assert gc.isenabled()
