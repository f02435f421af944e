import json
from pathlib import Path

import pytest

from srgan.config import schema
from srgan.data.choice import choose, inputs_of_test_sets
from srgan.data.inputs import recipes_of_test_sets
from srgan.utils.errors import SrganError
from tests.helpers.project import write_params


def data_of(folder, *entries):
    return schema.load(write_params(folder, {"data.test": list(entries)})).data


def test_a_set_with_recipes_is_downloaded_once_and_named_after_them(tmp_path):
    (tmp_path / "photos").mkdir()
    steps = [{"name": "downscale"}, {"name": "noise", "sigma": [5, 10]}]
    own = {"folder": "photos", "hr": "."}
    data = data_of(
        tmp_path,
        "set14",
        {"set": "set5", "recipe": "gaussian-20"},
        {"set": "set5", "recipe": "bicubic"},
        {"set": own, "recipe": steps},
        {"set": own, "recipe": steps[:1], "name": "plain"},
    )
    assert [str(entry) if isinstance(entry, str) else entry.folder for entry in data.sets("test")] == ["set14", "set5", "photos"]
    rows = inputs_of_test_sets(data, tmp_path)
    assert [row["name"] for row in rows] == ["set14", "set5+gaussian-20", "set5+bicubic", "photos+downscale-noise", "photos+plain"]
    recipes = recipes_of_test_sets(json.loads(json.dumps(rows)), Path("manifest.json"))
    assert recipes["set14"] == [("set14", None)]
    (_, noisy), (_, plain) = recipes["photos"]
    assert (noisy.name, noisy.steps[1].sigma, plain.name) == ("downscale-noise", (5, 10), "plain")
    assert recipes["set5"][1][1].is_bicubic


def test_without_recipes_nothing_is_added_to_the_download(tmp_path):
    assert inputs_of_test_sets(data_of(tmp_path, "set14", "set5"), tmp_path) == []


def test_two_sets_of_one_name_are_refused_with_recipes_too(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "photos").mkdir(parents=True)
    data = data_of(tmp_path, "a/photos", {"set": "b/photos", "recipe": "bicubic"})
    with pytest.raises(SrganError, match="two data sets are called 'photos'"):
        choose(data.sets("test"), "test", tmp_path)
