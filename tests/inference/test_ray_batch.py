import json
import threading
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from srgan.images.write import Options
from srgan.inference import batch, remote

ray_batch = pytest.importorskip("srgan.inference.ray_batch")

SETTINGS = ray_batch.Settings("auto", False, 32, Options())
TWO = ray_batch.Cluster(actors=2)


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_results_equal_those_of_the_local_engine_and_are_made_once(model, upscaler, tmp_path, caplog):
    photographs(tmp_path / "in", 30)
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    local = batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    out = str(tmp_path / "out")
    jobs = remote.plan([str(tmp_path / "in")], out)
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
    jobs, killed = remote.plan([str(tmp_path / "in")], str(tmp_path / "out")), []

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
