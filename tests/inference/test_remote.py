import os
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from srgan.images.write import Options
from srgan.inference import batch, remote
from srgan.utils.errors import SrganError, Unreachable


@pytest.fixture
def bucket():
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


def test_images_of_a_bucket_keep_their_place_below_the_folder_or_the_pattern(bucket):
    for path in ("a.jpg", "sub/b.PNG", "sub/deep/c.bmp", "notes.txt", ".hidden.png", ".cache/d.png", "out/a.jpg"):
        bucket.pipe(f"/bucket/in/{path}", b"x")
    folder, out, large = "memory:///bucket/in", "memory:///bucket/in/out", str(Path("large").absolute())
    expected = {
        f"{folder}/{a}": f"{out}/{b}" for a, b in (("a.jpg", "a.jpg"), ("sub/b.PNG", "sub/b.PNG"), ("sub/deep/c.bmp", "sub/deep/c.png"))
    }
    assert remote.plan(["memory://bucket/in"], "memory://bucket/in/out") == expected
    assert remote.plan([f"{folder}/sub/**"], "large", ".webp") == {
        f"{folder}/sub/b.PNG": f"{large}/b.webp",
        f"{folder}/sub/deep/c.bmp": f"{large}/deep/c.webp",
    }
    assert remote.plan([f"{folder}/a.jpg"], out) == {f"{folder}/a.jpg": f"{out}/a.jpg"}
    bucket.pipe("/bucket/in/a.png", b"x")
    with pytest.raises(SrganError, match=r"memory:///bucket/in/a\.\w+ and memory:///bucket/in/a\.\w+ would both become"):
        remote.plan([folder], out, ".webp")
    with pytest.raises(SrganError, match=r"memory://bucket/none: no images found|no such file"):
        remote.plan(["memory://bucket/none"], out)
    with pytest.raises(SrganError, match=r"unknown://x: "):
        remote.plan(["unknown://x"], out)


def test_images_without_a_result_or_with_an_older_one_are_missing(tmp_path, bucket):
    for number in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{number:03}.png").touch()
    jobs = remote.plan([str(tmp_path / "in")], str(tmp_path / "out"))
    assert remote.missing(jobs, str(tmp_path / "out")) == jobs
    (tmp_path / "out").mkdir()
    for number in (0, 1):
        (tmp_path / f"out/{number:03}.png").touch()
    os.utime(tmp_path / "in/001.png", (time.time() + 60, time.time() + 60))
    assert [Path(source).name for source in remote.missing(jobs, str(tmp_path / "out"))] == ["001.png", "002.png"]
    for name in ("in/a.png", "in/b.png", "out/a.png"):
        bucket.pipe(f"/{name}", b"x")
    jobs = remote.plan(["memory://in"], "memory://out")
    assert list(remote.missing(jobs, "memory://out")) == ["memory:///in/b.png"]


def photographs(folder, count, side=24):
    """Write images to a folder of the file system in memory."""
    memory = fsspec.filesystem("memory")
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        with memory.open(f"{folder}/{number:03}.png", "wb") as file:
            Image.fromarray(pixels).save(file, "png")


def test_images_at_addresses_become_those_of_the_same_files_and_are_made_once(bucket, upscaler, tmp_path, caplog):
    photographs("/bucket/in", 10)
    bucket.pipe("/bucket/in/sub/bad.png", b"no image")
    bucket.get("/bucket/in", str(tmp_path / "in"), recursive=True)
    local = batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "out")), Options())
    jobs = remote.plan(["memory://bucket/in"], "memory://bucket/out")
    failures = remote.run(upscaler, jobs, "memory://bucket/out", Options())
    assert failures == [text.replace(str(tmp_path / "in"), "memory:///bucket/in") for text in local]
    assert "sub/bad.png: not an image" in failures[0]
    for number in range(10):
        assert bucket.cat(f"/bucket/out/{number:03}.png") == (tmp_path / f"out/{number:03}.png").read_bytes()
    before = bucket.modified("/bucket/out/000.png")
    with caplog.at_level("INFO"):
        assert remote.run(upscaler, jobs, "memory://bucket/out", Options()) == failures
    assert "0 of 11 images upscaled, 10 existed already" in caplog.text
    assert bucket.modified("/bucket/out/000.png") == before
    photographs("/bucket/in", 1)  # a newer image
    assert set(remote.missing(jobs, "memory:///bucket/out")) == {"memory:///bucket/in/000.png", "memory:///bucket/in/sub/bad.png"}


def test_a_lost_connection_ends_the_run_and_a_missing_image_does_not(bucket, upscaler, monkeypatch):
    photographs("/in", 20)
    jobs = remote.plan(["memory://in"], "memory://out")
    read = type(bucket).get_file

    def breaks(self, source, *args, **kwargs):
        if source > "/in/011":
            raise ConnectionResetError("Connection reset by peer")
        read(self, source, *args, **kwargs)

    bucket.rm("/in/003.png")
    monkeypatch.setattr(type(bucket), "get_file", breaks)
    with pytest.raises(Unreachable, match=r"in/011.png cannot be reached: Connection reset by peer\. 10 of 20 images are upscaled\. The"):
        remote.run(upscaler, jobs, "memory:///out", Options())
    monkeypatch.undo()
    assert remote.run(upscaler, jobs, "memory:///out", Options()) == ["memory:///in/003.png: no such file or folder"]
    assert len(bucket.find("/out")) == 19


def test_results_have_a_folder_of_their_own(bucket):
    photographs("/bucket/in", 1)
    for output in ("memory://bucket/in", "memory://bucket"):
        with pytest.raises(SrganError, match=r"holds the images. The results need a folder of their own"):
            remote.plan(["memory://bucket/in"], output)
    with pytest.raises(SrganError, match=r"big.png: is the name of an image. Name a folder"):
        remote.plan(["memory://bucket/in/000.png"], "big.png")
