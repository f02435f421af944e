"""Old names are accepted where a user may still write them: in files, and in the overrides of flows."""

import pytest

from srgan.config import renamed

SECTIONS = ("pretrain", "train", "runtime", "export")


@pytest.mark.parametrize(
    ("file", "name", "value", "expected"),
    [
        ({"train": {"batch_size": 8}}, "train.batch", 4, {"train": {"batch_size": 4}}),
        ({"train": {"batch": 8}}, "train.batch_size", 4, {"train": {"batch": 4}}),
        ({"train": {}}, "train.log_every", 4, {"train": {}, "runtime": {"train": {"log_every": 4}}}),
        ({"export": {"optimize_graph": True}}, "export.plain", True, {"export": {"optimize_graph": False}}),
        ({"export": {"plain": True}}, "export.optimize_graph", True, {"export": {"plain": False}}),
        ({"train": {"losses": [{"name": "l1"}]}}, "train.losses.l1.weight", 2.0, {"train": {"losses": [{"name": "l1", "weight": 2.0}]}}),
    ],
)
def test_an_option_is_set_under_the_name_that_the_file_has(file, name, value, expected):
    assert renamed.set_option(file, name, value, SECTIONS)
    assert file == expected


@pytest.mark.parametrize("name", ["trian.steps", "train.steps.more", "train.losses.tv.weight", "steps"])
def test_a_place_that_is_not_there_is_refused(name):
    assert not renamed.set_option({"train": {"steps": 3, "losses": [{"name": "l1"}]}}, name, 1, SECTIONS)


def test_an_old_name_loses_only_a_value_that_was_the_default():
    moved, _, phrases = renamed.rename({"train": {"batch": None, "compile": False}, "pretrain": {"compile": True}})
    assert moved["train"] == {"batch_size": None}  # which is refused by name
    assert moved["runtime"]["pretrain"] == {"compile": True}
    assert "compile" not in moved["runtime"].get("train", {})
    assert len(phrases) == 3
