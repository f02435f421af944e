"""A throw-away track of seconds, from the start to the board."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from srgan.data.packed_store import Store
from srgan.images.png import write_png
from srgan.inference import benchmark
from srgan.speedrun import board, data, run
from srgan.speedrun.record import problems, read_record
from srgan.speedrun.tracks import DataDigests, Score, Track
from srgan.training.trainer import Trainer
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.helpers.project import write_params

TINY = Track(
    "tiny",
    "Two cores, ten minutes, pixel stage",
    600,
    "cpu",
    2,
    ("pretrain",),
    DataDigests("", "", ""),
    (Score("test", "psnr_y", "pretrained"),),
)


def write_images(folder, count, seed):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (64, 72, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return str(folder)


def clone(folder):
    """A repository with the code of a run."""
    (folder / "srgan").mkdir(parents=True)
    (folder / "srgan" / "code.py").write_text("1\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


class World:
    """A place for runs of the track, with a parameter file and a clone."""

    def __init__(self, root, track=TINY, more=None):
        self.root, self.code = root, clone(root / "clone")
        sets = [{"folder": write_images(root / name, count, seed), "name": name} for name, count, seed in (("train", 3, 1), ("test", 1, 2))]
        changes = {
            "data.train": sets[:1],
            "data.test": sets[1:],
            "prepare.scale": 2,
            "model.features": 4,
            "pretrain.steps": 3,
            "runtime.pretrain.validate_every": 1,
            "runtime.pretrain.checkpoint_every": 1,
        }
        self.params = write_params(root, changes | (more or {}))
        self.workspace = root / "speedruns" / "tiny-first"
        self.track = track

    def run(self, **changes):
        track = dataclasses.replace(self.track, **changes)
        return run.speedrun(track, self.root, self.params, "first", {track.name: track}, self.code)

    def refused(self):
        """Run with the wrong digests, then take the right ones."""
        with pytest.raises(SrganError) as error:
            self.run()
        self.track = dataclasses.replace(self.track, data=data.digests(self.workspace / "data" / "prepared"))
        return str(error.value)


@pytest.fixture(scope="module")
def measured():
    """Measurements in this process, without weights of other networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "measure", benchmark._measure_here)
        patch.setattr(benchmark, "IMAGE_SIDE", 16)
        patch.setattr(run, "METRICS_SCORED", ("psnr_y", "hatch"))
        yield patch


@pytest.fixture(scope="module")
def world(tmp_path_factory, measured, model):
    """The track after a refusal for its data, an interruption and a second attempt that entered the record."""
    world = World(tmp_path_factory.mktemp("speedrun"))
    world.message = world.refused()
    world.trained_before = (world.workspace / "clock.csv").exists()
    step = Trainer.step

    def stumble(self, number):
        if number == 2:
            raise RuntimeError("pulled the plug")
        step(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", stumble)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            world.run()
    with pytest.MonkeyPatch.context() as patch:  # an export takes seconds, see the slow test
        patch.setattr(run, "export_onnx", lambda path, *_: {"sha256": sha256(shutil.copyfile(model, path))})
        world.record = world.run()
    return world


@pytest.mark.slow
def test_both_stages_of_a_track_with_a_gan(tmp_path, measured):
    track = dataclasses.replace(TINY, stages=("pretrain", "train"), columns=(Score("test", "psnr_y", "gan"),))
    world = World(tmp_path, track, {"train.steps": 2})
    world.refused()
    record, rows = read_record(world.run())
    assert set(record.scores) == {"bicubic", "pretrained", "gan"}
    assert set(record.seconds) == {"pretrain", "train"}
    assert [row.stage for row in rows if row.event == "end"] == ["pretrain", "train"]


def test_a_run_ends_in_a_folder_and_on_the_board(world):
    assert world.record.name.endswith("-tiny-first")
    assert sorted(path.name for path in world.record.iterdir()) == [
        *("clock.csv", "curve.csv", "curve.png", "log.txt", "params.yaml", "picture.png", "record.json"),
    ]
    record, _ = read_record(world.record)
    (row,) = (line for line in (world.root / "benchmarks" / "LEADERBOARD.md").read_text().splitlines() if "[first]" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["1", record.date, f"[first](records/{world.record.name})", f"{record.scores['pretrained']['test']['psnr_y']:.2f}"]
    assert record.commit.startswith(cells[-1].strip("`"))
    assert record.onnx["threads"] == 2
    assert record.onnx["seconds_per_megapixel"] > 0
    assert record.scores["bicubic"]["test"]["psnr_y"] > 0
    assert Image.open(world.record / "picture.png").width > Image.open(world.record / "picture.png").height / 4


def test_an_interrupted_run_continues_and_counts_all_of_its_time(world):
    record, rows = read_record(world.record)
    assert record.attempts == 2
    assert [(row.event, row.step) for row in rows if row.event in ("start", "stop", "end")] == [
        ("start", 0),
        ("stop", 1),
        ("start", 1),
        ("end", 3),
    ]
    first, last = next(number for number, row in enumerate(rows) if row.event == "stop"), len(rows) - 1
    lengths = [rows[first].monotonic - rows[0].monotonic, rows[last].monotonic - rows[first + 1].monotonic]
    assert sum(record.seconds.values()) == pytest.approx(sum(lengths), abs=0.01)
    log = (world.record / "log.txt").read_text()
    assert "pretrain: resumes after step 1" in log
    assert "$PROJECT/train" in log
    assert str(world.root) not in log


def test_the_curve_has_the_seconds_of_each_validation(world):
    header, *lines = (world.record / "curve.csv").read_text().splitlines()
    names = header.split(",")
    assert names[:3] == ["stage", "step", "seconds"]
    assert [line.split(",")[1] for line in lines] == ["0", "1", "2", "3"]
    seconds = [float(line.split(",")[2]) for line in lines]
    assert seconds == sorted(seconds)


def test_other_data_are_refused_before_the_training(world):
    assert "the train and validation and test data are not those of the track" in world.message
    assert not world.trained_before


def test_an_entry_of_the_board_is_not_run_again(world):
    with pytest.raises(SrganError, match=r"this entry is on the board already\. Choose another name"):
        world.run()


def test_a_test_image_among_the_training_images_is_refused(world, tmp_path):
    """The manifest may be right all the same: the pixels are searched."""
    prepared = world.workspace / "data" / "prepared"
    assert data.leaks(prepared) == []
    copy = tmp_path / "prepared"
    subprocess.run(["cp", "-r", prepared, copy], check=True)
    manifest = json.loads((copy / "manifest.json").read_text())
    shown = next(image for image in manifest["images"] if image["part"] == "test")
    hr_image = Store(copy).hr[0]
    write_png(copy / "test" / "test" / "hr" / f"{shown['name']}.png", np.ascontiguousarray(hr_image[:, ::-1]))
    for image in manifest["images"]:
        image.pop("hr_sha256", None)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = data.leaks(copy)
    assert len(found) == 1
    assert found[0].endswith(f"shows test/{shown['name']}")
    record, rows = read_record(world.record)
    assert problems(world.track, record, rows) == []
    assert problems(world.track, dataclasses.replace(record, leaks=found), rows) == [f"leak: {found[0]}"]
    changed = dataclasses.asdict(data.digests(copy))
    (problem,) = problems(world.track, dataclasses.replace(record, data=changed), rows)
    assert problem.startswith("the test data have the digest ")


@pytest.fixture
def entering(world):
    """The same place without the record, and with a training that is complete."""
    kept = world.record.rename(world.root / "kept")
    yield world
    kept.rename(world.record)


def test_a_changed_tree_is_refused_at_once(entering, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    new = entering.code / "srgan" / "loss.py"
    new.write_text("2\n")  # git does not know it, Python imports it all the same
    with pytest.raises(SrganError, match=r"files differ from the commit: srgan/loss.py. Commit them first"):
        entering.run()
    new.unlink()
    (entering.code / "README.md").write_text("no code\n")
    with pytest.raises(SrganError) as error:
        entering.run()
    assert "files differ" not in str(error.value)
    assert "the process may use 4 cores, the track has 2: start it with taskset -c 0,1" in str(error.value)
    (entering.code / "README.md").unlink()


def test_a_run_does_not_continue_with_other_code_or_parameters(entering):
    about = entering.workspace / "run.json"
    text = about.read_text()
    about.write_text(text.replace('"commit": "', '"commit": "0'))
    with pytest.raises(SrganError, match="holds a run of other parameters or of another commit"):
        entering.run()
    about.write_text(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain.pretrained": "own.safetensors"}, "pretrain.pretrained is set, the track starts from random weights"),
        ({"train.discriminator.pretrained": "own.pth"}, "train.discriminator.pretrained is set, the track starts from random weights"),
        ({"runtime.pretrain.nproc_per_node": 2}, "the track has one process"),
    ],
)
def test_a_head_start_is_refused(entering, tmp_path, changes, message):
    entering_params, entering.params = entering.params, write_params(tmp_path, changes)
    with pytest.raises(SrganError, match=message):
        entering.run(stages=("pretrain", "train"))
    entering.params = entering_params


def test_another_device_is_refused(entering):
    with pytest.raises(SrganError, match="the training runs on cpu, the track on cuda: run it on a machine with such a GPU"):
        entering.run(device="cuda")


def test_a_result_without_its_value_is_refused_after_the_training(entering, monkeypatch):
    monkeypatch.setattr(run, "_result", lambda *_: read_record(entering.root / "kept")[0])
    with pytest.raises(SrganError, match=r"the training took .* seconds, the track has 0.001 seconds: choose fewer steps"):
        entering.run(seconds=0.001)
    with pytest.raises(SrganError, match=r"PSNR-Y of pretrained on test is .*, the track needs at least 99"):
        entering.run(least=(TINY.columns[0], 99))
    assert list((entering.root / "benchmarks" / "records").iterdir()) == []


def test_the_board_refuses_a_record_that_was_edited(world):
    path = world.record / "record.json"
    text = path.read_text()
    values = json.loads(text)
    values["seconds"]["pretrain"] -= 1
    path.write_text(json.dumps(values))
    with pytest.raises(SrganError, match=r"not a valid record: record.json has .* seconds, its clock"):
        board.board_text(world.root / "benchmarks", {"tiny": world.track})
    path.write_text("{}")
    with pytest.raises(SrganError, match="not a record of a speedrun"):
        board.board_text(world.root / "benchmarks", {"tiny": world.track})
    path.write_text(text)
