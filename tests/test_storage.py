"""docs/storage.md: its commands run in their order against an S3 server, and what goes wrong is told."""

import io
import re
import shlex
import time
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

from srgan.config import schema
from srgan.utils.files import sha256
from tests.helpers import bucket as buckets
from tests.helpers.commands import run
from tests.helpers.project import ROOT, make_project, write_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def bucket():
    with buckets.served() as served:
        yield served


def picture(seed, side=96):
    """The bytes of a PNG file."""
    file, pixels = io.BytesIO(), np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(file, "png")
    return file.getvalue()


def srgan(*arguments, cwd, bucket, check=True, **env):
    buckets.forget()
    return run("srgan", *arguments, cwd=cwd, check=check, **bucket.env, **env)


class Reader:
    """Does what a page says: its commands and its changes of params.yaml."""

    def __init__(self, folder, bucket):
        self.folder, self.env = folder, bucket.env | {"SRGAN_CACHE": str(folder / "cache"), "HOME": str(folder)}

    def follow(self, page):
        for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", page, flags=re.S | re.M):
            if kind == "yaml":
                self.edit(yaml.safe_load(text))
            else:
                for line in text.splitlines():
                    self.do(line)

    def edit(self, changes):
        path = self.folder / "params.yaml"
        values = yaml.safe_load(path.read_text())
        for section, entries in changes.items():
            values[section] |= entries
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        schema.load(path)

    def do(self, line):
        words = shlex.split(line, comments=True)
        if words[0] == "pip" or "..." in line or "example.org" in line:
            return
        buckets.forget()
        if words[0] == "export":
            self.env |= dict(word.split("=", 1) for word in words[1:])
        elif words[0] in ("srgan", "dvc"):
            run(*words, cwd=self.folder, **self.env)
        else:
            run("bash", "-c", line, cwd=self.folder, **self.env)


def test_the_page_runs_from_download_to_upscale(tmp_path, bucket):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(12):
            packed.writestr(f"{number}.png", picture(number))
    bucket.put("data/photos.zip", archive.getvalue())
    for number in range(3):
        bucket.put(f"photos/of 2026/{number}.png", picture(100 + number, 40))
    folder = make_project(tmp_path / "project", {"prepare.validation": 0.1})
    (folder / "mlflow").mkdir(exist_ok=True)
    Reader(folder, bucket).follow((ROOT / "docs/storage.md").read_text())
    shards = [path for path in (folder / "cache/shards").rglob("*.u8") if path.is_file()]
    assert [sha256(path) for path in shards] == [sha256(folder / "data/prepared/train/00000.u8")]  # the trainings streamed it
    assert {name.rpartition("/")[2] for name in bucket.names("train/")} == {"00000.u8", "00000.json", "index.json"}
    assert any(name.endswith("report.html") for name in bucket.names("mlflow/"))
    assert any(name.endswith(".onnx") for name in bucket.names("mlflow/"))
    assert bucket.names("large/") == [f"large/of 2026/{number}.png" for number in range(3)]
    assert Image.open(io.BytesIO(bucket.get("large/of 2026/0.png"))).size == (160, 160)
    for number in range(3):  # the same model, from the folder and from the bucket of MLflow
        large = np.asarray(Image.open(folder / f"large/of 2026/{number}.png"))
        assert np.array_equal(large, np.asarray(Image.open(io.BytesIO(bucket.get(f"large/of 2026/{number}.png")))))
    models = {path.name: path.read_bytes() for path in (folder / "models").glob("*.onnx")}
    assert models
    for name in models:
        (folder / "models" / name).unlink()
    (folder / ".dvc/cache").rename(tmp_path / "lost")
    buckets.forget()
    run("dvc", "pull", "export", cwd=folder, **bucket.env)
    assert {path.name: path.read_bytes() for path in (folder / "models").glob("*.onnx")} == models


def test_a_mirror_in_a_bucket_serves_the_catalogue(tmp_path, bucket, mirror):
    names = sorted(path.relative_to(mirror).as_posix() for path in (mirror / "datasets/set5").iterdir())
    for name in names:
        bucket.put(f"mirror/{name}", (mirror / name).read_bytes())
    bucket.put("mirror/MANIFEST.sha256", "".join(f"{sha256(mirror / name)}  {name}\n" for name in names).encode())
    folder = make_project(tmp_path / "project", {"data.test": ["set5"]})
    env = {"SRGAN_MIRROR": "s3://bucket/mirror", "SRGAN_CACHE": str(tmp_path / "cache")}
    done = srgan("download", cwd=folder, bucket=bucket, **env)
    assert "data set set5: 5 test images from s3://bucket/mirror/datasets/set5" in done.stderr


# -- errors ---------------------------------------------------------------------------------------------------------------


WRONG = {"AWS_ACCESS_KEY_ID": "AKIAWRONG", "AWS_SECRET_ACCESS_KEY": "wrong"}


@pytest.fixture
def at_work(tmp_path, project, bucket):
    """A copy of the finished project whose parts are in the bucket, and a model."""
    from tests.helpers.project import copied

    folder = copied(project, tmp_path / "copy")
    bucket.put("photos/0.png", picture(0, 40))
    bucket.put("data/more.zip", b"")
    srgan("data", "upload", "s3://bucket/train", cwd=folder, bucket=bucket)
    write_model(tmp_path)
    return folder


def edited(folder, old, new):
    path = folder / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(("place", "keys", "text"), [("bucket", WRONG, "access denied"), ("other", {}, "no such")])
def test_a_wrong_key_and_a_missing_bucket_are_told_by_every_command(tmp_path, at_work, bucket, place, keys, text):
    bucket.env |= keys
    (model,) = tmp_path.glob("*.onnx")
    cache = str(tmp_path / "cache")
    for command in (
        ["upscale", f"s3://{place}/photos", "-o", "out", "--model", model],
        ["upscale", at_work / "data/prepared/validation", "-o", f"s3://{place}/large", "--model", model],
        ["upscale", f"s3://{place}/photos", "-o", "out", "--model", f"s3://{place}/x4.onnx"],
        ["data", "upload", f"s3://{place}/train"],
    ):
        failed = srgan(*command, cwd=at_work, bucket=bucket, check=False, SRGAN_CACHE=cache)
        assert failed.returncode == 1, failed.stderr
        assert f"s3://{place}/" in failed.stderr
        assert text in failed.stderr
    edited(at_work, "store: ''", f"store: s3://{place}/train")
    failed = srgan("pretrain", cwd=at_work, bucket=bucket, check=False, SRGAN_CACHE=cache)
    assert failed.returncode == 1
    assert f"runtime.store: s3://{place}/train/index.json: {text}" in failed.stderr
    edited(at_work, "train:\n  - sample", f"train:\n  - s3://{place}/data/more.zip")
    failed = srgan("download", cwd=at_work, bucket=bucket, check=False, SRGAN_CACHE=cache)
    assert f"s3://{place}/data/more.zip: {text}" in failed.stderr


def test_a_connection_that_is_lost_half_way_is_told_and_the_same_command_continues(tmp_path, at_work, bucket):
    (model,) = tmp_path.glob("*.onnx")
    for number in range(40):
        bucket.put(f"photos/{number:02}.png", picture(number, 64))
    command = ["upscale", "s3://bucket/photos", "-o", "s3://bucket/large", "--model", model]
    buckets.forget()

    def cut():
        while len(bucket.names("large/")) < 3:
            time.sleep(0.05)
        bucket.stop()

    lost = run("srgan", *command, cwd=at_work, check=False, meanwhile=cut, **bucket.env)
    assert lost.returncode == 69, lost.stderr
    done = int(re.search(r"cannot be reached: .* (\d+) of 41 images are upscaled. The same command continues", lost.stderr)[1])
    assert 3 <= done < 41
    bucket.start()
    again = srgan(*command, cwd=at_work, bucket=bucket)
    assert "existed already" in again.stderr
    assert len(bucket.names("large/")) == 41
