import json
import os
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pytest
from PIL import Image

from srgan.images.write import Options
from srgan.inference import batch
from srgan.utils.errors import SrganError

ray_batch = pytest.importorskip("srgan.inference.ray_batch")

SETTINGS = ray_batch.Settings("auto", False, 32, Options())
TWO = ray_batch.Cluster(actors=2)


@pytest.fixture
def bucket():
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


def photographs(folder, count, side=24):
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side + number % 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def manifest(folder):
    return [json.loads(line) for path in sorted((folder / ".upscaled").iterdir()) for line in path.read_text().splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_images_of_a_bucket_keep_their_place_below_the_folder_or_the_pattern(bucket):
    for path in ("a.jpg", "sub/b.PNG", "sub/deep/c.bmp", "notes.txt", ".hidden.png", ".cache/d.png", "out/a.jpg"):
        bucket.pipe(f"/bucket/in/{path}", b"x")
    folder, out, large = "memory:///bucket/in", "memory:///bucket/in/out", str(Path("large").absolute())
    expected = {
        f"{folder}/{a}": f"{out}/{b}" for a, b in (("a.jpg", "a.jpg"), ("sub/b.PNG", "sub/b.PNG"), ("sub/deep/c.bmp", "sub/deep/c.png"))
    }
    assert ray_batch.plan(["memory://bucket/in"], "memory://bucket/in/out") == expected
    assert ray_batch.plan([f"{folder}/sub/**"], "large", ".webp") == {
        f"{folder}/sub/b.PNG": f"{large}/b.webp",
        f"{folder}/sub/deep/c.bmp": f"{large}/deep/c.webp",
    }
    assert ray_batch.plan([f"{folder}/a.jpg"], out) == {f"{folder}/a.jpg": f"{out}/a.jpg"}
    bucket.pipe("/bucket/in/a.png", b"x")
    with pytest.raises(SrganError, match=r"memory:///bucket/in/a\.\w+ and memory:///bucket/in/a\.\w+ would both become"):
        ray_batch.plan([folder], out, ".webp")
    with pytest.raises(SrganError, match=r"memory://bucket/none: no images found|no such file"):
        ray_batch.plan(["memory://bucket/none"], out)
    with pytest.raises(SrganError, match=r"unknown://x: "):
        ray_batch.plan(["unknown://x"], out)


def test_images_without_a_result_or_with_an_older_one_are_missing(tmp_path, bucket):
    photographs(tmp_path / "in", 3)
    jobs = ray_batch.plan([str(tmp_path / "in")], str(tmp_path / "out"))
    assert ray_batch.missing(jobs, str(tmp_path / "out")) == jobs
    (tmp_path / "out").mkdir()
    for number in (0, 1):
        (tmp_path / f"out/{number:03}.png").touch()
    os.utime(tmp_path / "in/001.png", (time.time() + 60, time.time() + 60))
    assert [Path(source).name for source in ray_batch.missing(jobs, str(tmp_path / "out"))] == ["001.png", "002.png"]
    for name in ("in/a.png", "in/b.png", "out/a.png"):
        bucket.pipe(f"/{name}", b"x")
    jobs = ray_batch.plan(["memory://in"], "memory://out")
    assert list(ray_batch.missing(jobs, "memory://out")) == ["memory:///in/b.png"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_results_equal_those_of_the_local_engine_and_are_made_once(model, upscaler, tmp_path, caplog):
    photographs(tmp_path / "in", 30)
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    local = batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    out = str(tmp_path / "out")
    jobs = ray_batch.plan([str(tmp_path / "in")], out)
    failures = ray_batch.run(model, SETTINGS, jobs, out, cluster=TWO)
    assert failures == local
    assert "bad.png: not an image" in failures[0]
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    rows = manifest(tmp_path / "out")
    assert {row["source"]: row["target"] for row in rows} == jobs
    assert [row["source"] for row in rows if row["error"]] == [str(tmp_path / "in/bad.png")]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert ray_batch.run(model, SETTINGS, jobs, out, cluster=TWO) == failures
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert len(manifest(tmp_path / "out")) == len(rows) + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_actor_loses_nothing(model, upscaler, tmp_path):
    photographs(tmp_path / "in", 60, 64)
    batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    jobs, killed = ray_batch.plan([str(tmp_path / "in")], str(tmp_path / "out")), []

    def kill():
        while not killed:
            time.sleep(0.05)
            if len(list((tmp_path / "out").glob("*.png"))) > 5:
                actors = [each for each in psutil.Process().children(recursive=True) if "_Actor" in " ".join(each.cmdline())]
                killed.extend(actors[:1])
                for actor in killed:
                    actor.kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert ray_batch.run(model, SETTINGS, jobs, str(tmp_path / "out"), cluster=TWO) == []
    assert killed
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
