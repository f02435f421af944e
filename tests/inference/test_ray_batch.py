import json
import posixpath
import threading
import time

import fsspec
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from srgan.images.write import Options
from srgan.inference import batch, remote
from srgan.inference.refine import Refinement
from srgan.inference.settings import Settings
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from tests.helpers.commands import run

ray_batch = pytest.importorskip("srgan.inference.ray_batch")

SETTINGS = Settings(tile=32)
TWO = ray_batch.Cluster(actors=2)


@pytest.fixture
def s3(monkeypatch):
    """Start an S3 server on this machine, which fsspec uses in this process and in the actors."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "ENDPOINT_URL": f"http://{host}:{port}",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    fsspec.filesystem("s3").clear_instance_cache()
    yield
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


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
@pytest.mark.parametrize("what", ["machine", "actor"])
def test_a_lost_machine_or_actor_loses_nothing(model, upscaler, tmp_path, what):
    from tests.helpers.ray_nodes import two_nodes, workers

    photographs(tmp_path / "in", 60, 64)
    batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    out = tmp_path / "out"
    jobs, killed = remote.plan([str(tmp_path / "in")], str(out)), []
    with two_nodes() as nodes:

        def kill():
            while len(list(out.glob("*.png"))) < 6:
                time.sleep(0.05)
            if what == "machine":
                nodes.lose_the_second()
            else:
                workers("_Actor")[0].kill()
            killed.append(what)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        assert ray_batch.run(model, SETTINGS, jobs, str(out), cluster=TWO) == []
        thread.join()
    assert killed == [what]
    assert contents(out) == contents(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adapted_results_are_those_of_the_local_engine(tmp_path, caplog):
    save_generator(tmp_path / "tiny.safetensors", build_generator("compact", scale=2, features=8, depth=1), {"sr.objective": "psnr"})
    (tmp_path / "in").mkdir()
    sharp = Image.fromarray(skimage.data.astronaut()[:180, 100:280])
    sharp.filter(ImageFilter.GaussianBlur(1.6)).resize((90, 90), Image.Resampling.BICUBIC).save(tmp_path / "in/a.png")
    settings, out = Settings(refine=Refinement(adapt_seconds=1e6)), str(tmp_path / "out")
    with caplog.at_level("INFO"):
        batch.run(settings.upscaler(tmp_path / "tiny.safetensors"), batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    assert "\nadapted in 300 steps" in "\n".join(["", *caplog.messages])
    jobs = remote.plan([str(tmp_path / "in")], out)
    assert ray_batch.run(tmp_path / "tiny.safetensors", settings, jobs, out, cluster=ray_batch.Cluster(actors=1)) == []
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_names_sizes_and_refinements_are_those_of_the_local_engine(model, tmp_path):
    photographs(tmp_path / "in", 3)
    flags = ("--model", model, "--long-side", "60", "--name", "{stem}_{size}", "--ensemble", "8", "--back-project", "--keep-dates")
    run("srgan", "upscale", "in", "-o", "local", *flags, cwd=tmp_path)
    run("srgan", "upscale", "in", "-o", "out", *flags, "--engine", "ray", "--actors", "1", cwd=tmp_path)
    assert sorted(contents(tmp_path / "out")) == ["000_long60.png", "001_long60.png", "002_long60.png"]
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert (tmp_path / "out/000_long60.png").stat().st_mtime == (tmp_path / "in/000.png").stat().st_mtime


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_images_of_a_bucket_are_upscaled_into_a_bucket(model, upscaler, tmp_path, s3):
    photographs(tmp_path / "in", 9)
    batch.run(upscaler, batch.plan([str(tmp_path / "in")], str(tmp_path / "local")), Options())
    system = fsspec.filesystem("s3")
    system.mkdir("photos")
    system.put(str(tmp_path / "in"), "photos/in", recursive=True)
    jobs = remote.plan(["s3://photos/in"], "s3://photos/out")
    assert ray_batch.run(model, SETTINGS, jobs, "s3://photos/out", cluster=TWO) == []
    results = [path for path in system.find("photos/out") if path.endswith(".png")]
    assert {posixpath.basename(path): system.cat_file(path) for path in results} == contents(tmp_path / "local")
    assert remote.missing(jobs, "s3://photos/out") == {}


def test_options_that_do_not_fit_are_refused_in_one_line(tmp_path):
    photographs(tmp_path / "in", 1)
    for flags, message in (
        (["--engine", "ray", "--hints", "h.png"], "--hints: does not fit --engine ray"),
        (["--engine", "ray", "--name", "big"], "--name big: all results would have one name"),
        (["--actors", "2"], "--actors: fits --engine ray"),
    ):
        done = run("srgan", "upscale", "in", "-o", "out", *flags, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]
