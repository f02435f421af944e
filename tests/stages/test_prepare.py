import pytest

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.stages import prepare
from srgan.utils.errors import SrganError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"address": "auto"}, "--address: names a Ray cluster. Add --engine ray"),
        ({"engine": "ray", "address": "auto", "processes": 2}, "--processes: a Ray cluster uses all its cores"),
    ],
)
def test_options_of_the_other_engine_are_refused(tmp_path, given, message):
    with pytest.raises(SrganError, match=message):
        prepare.run(Project(tmp_path), Params(), **given)


def test_the_engine_of_the_parameter_file_is_used_unless_another_is_given(tmp_path):
    params = Params.model_validate({"runtime": {"prepare": {"engine": "ray", "address": "auto"}}})
    with pytest.raises(SrganError, match="--processes: a Ray cluster"):
        prepare.run(Project(tmp_path), params, processes=2)
    with pytest.raises(SrganError, match=r"manifest\.json"):  # there are no images
        prepare.run(Project(tmp_path), params, processes=2, engine="local")
