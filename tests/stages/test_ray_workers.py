"""`srgan prepare --engine ray`: the results are those of one machine, whatever the cluster loses."""

import json
import os
import pickle
from functools import partial

import psutil
import pytest
import yaml

from srgan.config.data import Checks
from srgan.data.prepare import prepare
from srgan.data.prepare_image import Done, Task, prepare_one
from srgan.utils import ray_cluster
from srgan.utils.errors import SrganError
from srgan.utils.workers import Workers
from tests.data.test_prepare import PLAIN, everything, make_raw, options, picture
from tests.helpers.commands import run
from tests.helpers.project import make_project

ray_workers = pytest.importorskip("srgan.stages.ray_workers")

SHARD = 40_000  # bytes: three or four images
OPTIONS = partial(options, max_unreadable=2, reduced=(2, 3), validation=0.2, checks=Checks(near_duplicates=True, max_share=0.5))


@pytest.fixture
def raw(tmp_path):
    images = dict(PLAIN) | {f"train/more/{n:02}.png": picture(200 + n, 100 + 3 * n, 110 + n) for n in range(6)}
    images |= {
        "train/more/03b.png": PLAIN["train/own/c.png"],
        "train/more/04b.png": b"no image",
        "train/more/leak.png": PLAIN["test/own/t.png"],
    }
    return make_raw(tmp_path / "raw", images)


@pytest.fixture
def stub(monkeypatch):
    """Replace Ray by copies in this process, and count what is sent to all machines."""
    sent = []

    def put(value):
        sent.append(pickle.dumps(value))
        return len(sent) - 1

    def remote(function, item, here):
        return pickle.dumps(ray_workers._apply._function(*pickle.loads(pickle.dumps((function, item, here)))))

    def get(reference):
        return pickle.loads(sent[reference] if isinstance(reference, int) else reference)

    monkeypatch.setattr(ray_workers.ray, "put", put)
    monkeypatch.setattr(ray_workers.ray, "get", get)
    monkeypatch.setattr(ray_workers._apply, "remote", remote)
    monkeypatch.setattr(ray_cluster, "cores", lambda: 2)
    ray_workers._workers.cache_clear()
    yield sent
    ray_workers._workers.cache_clear()


def test_files_and_answers_come_back_as_on_one_machine(raw, tmp_path, stub):
    prepare(raw, tmp_path / "here", OPTIONS(), 1, SHARD)
    manifest = prepare(raw, tmp_path / "there", OPTIONS(), 1, SHARD, ray_workers.RayWorkers)
    assert everything(tmp_path / "there") == everything(tmp_path / "here")
    assert [record["image"] for record in manifest["leaks"]] == ["more/leak"]
    assert manifest["rejected"]
    assert manifest["skipped"] == [{"image": "train/more/04b.png", "reason": "not an image that can be read"}]
    assert len(stub) == 3  # of the checks, of the held-out images, and of the training images with the references


def test_a_machine_with_another_version_or_without_the_files_is_named(tmp_path, stub):
    with pytest.raises(SrganError, match=r"has srgan .*, this machine 0\.1\. Install the same"):
        ray_workers._Here(tmp_path, "0.1").check()
    with pytest.raises(SrganError, match=r"has no folder .*none\. All machines"):
        ray_workers._Here(tmp_path / "none").check()
    missing = Task(0, tmp_path / "a.png", "set", "a", "train", tmp_path, options(), ())
    with pytest.raises(SrganError, match=r"has no file .*a\.png\. All machines"):
        next(ray_workers.RayWorkers(prepare_one).map([missing]))


def test_an_image_that_crashes_a_process_has_the_reason_that_it_has_on_one_machine(stub):
    for engine in (partial(Workers, processes=1), ray_workers.RayWorkers):
        (answer,) = engine(_crash).map(["image"])
        assert (answer.item, answer.reason) == ("image", "crashes the process that works on it (exit code 3)")


def _crash(image):
    os._exit(3)


# -- a real cluster -----------------------------------------------------------------------------------------------------------


def losing(lose, after):
    """Return an engine that loses something after so many training images."""

    class Losing(ray_workers.RayWorkers):
        def map(self, items):
            for number, answer in enumerate(super().map(items)):
                if number == after and isinstance(answer, Done) and answer.task.part == "train":
                    lose()
                yield answer

    return Losing


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["machine", "process"])
def test_a_lost_machine_or_process_changes_no_bit(tmp_path, what):
    from tests.helpers.ray_nodes import two_nodes, workers

    images = dict(PLAIN) | {f"train/more/{n:02}.png": picture(200 + n, 100 + 3 * n, 110 + n) for n in range(40)}
    raw = make_raw(tmp_path / "raw", images | {"train/more/04b.png": b"no image", "train/more/copy.png": images["train/more/07.png"]})
    prepare(raw, tmp_path / "here", OPTIONS(), 1, SHARD)
    lost = []
    with two_nodes() as nodes:

        def lose():
            nodes.lose_the_second() if what == "machine" else workers("ray::_apply")[0].kill()
            lost.append(what)

        prepare(raw, tmp_path / "there", OPTIONS(), 1, SHARD, losing(lose, after=8))
        assert lost == [what]
    assert everything(tmp_path / "there") == everything(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_preparation_continues_with_another_engine(raw, tmp_path):
    prepare(raw, tmp_path / "whole", OPTIONS(), 1, SHARD)

    def stop():
        raise KeyboardInterrupt

    with ray_cluster.connected("", 2):
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, tmp_path / "out", OPTIONS(), 1, SHARD, losing(stop, after=9))
        assert json.loads((tmp_path / "out.partial/notes/00000.json").read_text())
    prepare(raw, tmp_path / "out", OPTIONS(), 1, SHARD)
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dvc_records_the_same_results_and_no_process_of_ray_stays(tmp_path):
    make_raw(tmp_path / "photos", PLAIN)
    outputs = {}
    for engine in ("local", "ray"):
        changes = {"data.train": [str(tmp_path / "photos/train/own")], "data.test": [str(tmp_path / "photos/test/own")]}
        folder = make_project(tmp_path / engine, changes | {"runtime.prepare.engine": engine})
        for _ in range(2):
            done = run("dvc", "repro", "prepare", cwd=folder)
        assert "Stage 'prepare' didn't change" in done.stdout + done.stderr
        outputs[engine] = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["prepare"]["outs"]
        assert not [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(folder)]
    assert outputs["ray"] == outputs["local"]
    assert not [each.name() for each in psutil.Process().children(recursive=True) if "ray" in each.name()]
