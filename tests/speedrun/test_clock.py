"""The journal of the time of training: what counts, and what is refused."""

import logging
import re

import pytest

from srgan.speedrun import clock
from srgan.speedrun.clock import BEAT_SECONDS, Clock, Row, disagreements, elapsed, read_journal, seconds
from srgan.utils.csv_table import Table, validation_csv


def attempt(start, end, event="end", stage="pretrain", step=0, wall=1000.0, cores=2):
    """The rows of an attempt on a monotonic clock that is 1000 s behind the system clock."""
    return [
        Row(stage, "start", start, start + wall, step, cores, 2, 0.0),
        Row(stage, "beat", (start + end) / 2, (start + end) / 2 + wall, step, cores, 2, 0.5),
        Row(stage, event, end, end + wall, step + 10, cores, 2, 0.5),
    ]


def killed(start, end, **more):
    return attempt(start, end, "beat", **more)


def test_all_attempts_count_and_a_killed_one_counts_what_it_may_have_worked():
    rows = [*attempt(0, 100, "stop"), *killed(5, 25), *attempt(40, 50)]
    assert seconds(rows) == 100 + 20 + BEAT_SECONDS + 10
    assert [at for row, at in elapsed(rows) if row.event == "start"] == [0, 100, 100 + 20 + BEAT_SECONDS]
    both = [*attempt(0, 100), *attempt(100, 130, stage="train")]
    assert (seconds(both), seconds(both, "pretrain"), seconds(both, "train")) == (130, 100, 30)


def test_a_clock_in_order_has_nothing_to_refuse():
    assert disagreements([*killed(500, 510), *attempt(520, 600, step=30)], ("pretrain",)) == []
    slewed = [Row(row.stage, row.event, row.monotonic, row.wall + 5e-4 * row.monotonic, 0, 2, 2, 0.0) for row in attempt(0, 2700)]
    assert disagreements(slewed, ("pretrain",)) == []


def moved(rows, number, wall=0.0, monotonic=0.0):
    """The rows with other clocks from a row on."""
    return [
        Row(row.stage, row.event, row.monotonic + monotonic * (at >= number), row.wall + wall * (at >= number), row.step, 2, 2, 0.0)
        for at, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the clock has no beginning"),
        (attempt(0, 100)[1:], "the clock has no beginning"),
        (killed(0, 100), "the clock has no end of the stage pretrain"),
        (attempt(0, 100, stage="train"), "the clock has no end of the stage pretrain"),
        (attempt(0, 100, step=5000), "the clock misses the first 5000 steps of the stage pretrain"),
        (moved(attempt(0, 100), 1, wall=600), r"the system clock moved by \+600 s against the monotonic clock"),
        (moved(attempt(0, 100), 2, wall=-600), "the system clock moved by -600 s"),
        (moved(moved(attempt(0, 100), 1, wall=600), 2, wall=-600), r"the system clock moved by \+600 s"),  # and back
        (moved(attempt(0, 100), 2, monotonic=-80), "the monotonic clock ran backwards"),
        ([*attempt(0, 100, "stop"), *attempt(0, 10, wall=500)], "the system clock was set back by 600 s between two attempts"),
    ],
)
def test_a_clock_that_disagrees_is_named(rows, message):
    found = disagreements(rows, ("pretrain",))
    assert found
    assert any(re.search(message, text) for text in found), found


class Hands:
    """Two clocks that a test moves."""

    def __init__(self):
        self.monotonic, self.wall = 50.0, 5000.0

    def move(self, both):
        self.monotonic += both
        self.wall += both


@pytest.fixture
def hands():
    return Hands()


def journal(folder, hands, limit=100):
    return Clock(folder / "clock.csv", limit, lambda: hands.monotonic, lambda: hands.wall)


def test_an_error_ends_an_attempt_and_the_next_one_starts_at_its_checkpoint(tmp_path, hands):
    losses, checkpoints = tmp_path / "pretrain.csv", tmp_path / "checkpoints"
    checkpoints.mkdir()
    with pytest.raises(RuntimeError), journal(tmp_path, hands).running("pretrain", checkpoints, losses):
        (checkpoints / "step-00000200.pt").touch()
        table = Table(validation_csv(losses), [{"step": 0, "val_loss": 1.0}, {"step": 150, "val_loss": 1.0}])
        hands.move(30)
        raise RuntimeError
    with journal(tmp_path, hands).running("pretrain", checkpoints, losses):
        hands.move(20)
    table.close()
    rows = read_journal(tmp_path / "clock.csv")
    assert [(row.event, row.step) for row in rows] == [("start", 0), ("stop", 150), ("start", 200), ("end", 150)]
    assert seconds(rows) == 50
    assert disagreements(rows, ("pretrain",)) == []


def test_the_half_row_of_a_killed_process_is_left_out(tmp_path, hands):
    path = tmp_path / "clock.csv"
    with journal(tmp_path, hands).running("pretrain", tmp_path, tmp_path / "x.csv"):
        hands.move(1)
    path.write_text(path.read_text() + "pretrain,beat,52.0")
    with journal(tmp_path, hands).running("train", tmp_path, tmp_path / "x.csv"):
        hands.move(2)
    assert [row.event for row in read_journal(path)] == ["start", "end", "start", "end"]
    assert seconds(read_journal(path)) == 3


def test_a_thread_writes_rows_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "BEAT_SECONDS", 0.01)
    path = tmp_path / "clock.csv"
    with Clock(path, 100).running("pretrain", tmp_path, tmp_path / "x.csv"):
        while "beat" not in path.read_text():
            pass
    row = next(row for row in read_journal(path) if row.event == "beat")
    assert row.threads >= 1
    assert row.cores >= 1
    assert row.others >= 0


def test_a_warning_comes_once_when_the_time_is_over(tmp_path, hands, caplog):
    with caplog.at_level(logging.WARNING), journal(tmp_path, hands, limit=60).running("pretrain", tmp_path, tmp_path / "x.csv"):
        assert caplog.text == ""
        hands.move(61)
    assert caplog.text.count("the 60 seconds of the track are over. The result cannot be a record. Stop with Ctrl-C") == 1
