import pytest

from srgan.training.logger import TrainingLog

ROW = {"learning_rate": 1e-4, "loss_l1": 0.1, "sr_min": 0.0, "sr_max": 1.0, "color_shift": 12.0, "checkerboard": 0.0}


@pytest.fixture
def warnings(tmp_path, caplog):
    """A function that logs rows as a training does, and returns the warnings."""

    def after(rows, **options):
        log = TrainingLog(tmp_path / "train.csv", len(rows), "train", tmp_path / "pictures", **options)
        log.start(0, [], [])
        for step, row in enumerate(rows, 1):
            log.add({"step": step} | row)
        log.close()
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    return after


def test_colours_that_differ_are_trouble(warnings):
    (warning,) = warnings([ROW] * 4)
    assert warning.startswith("warning: colors differ by 12.0 of 255 levels on average")


def test_a_network_that_adds_colours_is_warned_of_other_trouble_alone(warnings):
    (warning,) = warnings([ROW] * 4 + [ROW | {"sr_max": 2.0}] * 3, adds_colour=True)
    assert warning.startswith("warning: the output is far outside 0..1")
