"""Long JSON files are read and written one record at a time, with the bytes of `write_json`."""

import json

import pytest

from srgan.utils import long_json
from srgan.utils.disk import DiskList
from srgan.utils.errors import SrganError
from srgan.utils.files import write_json

VALUE = {
    "scale": 4,
    "recipe": {"name": "a", "steps": [{"x": 1.5}, []]},
    "images": [{"name": "é\udcff\n", "sizes": [1, 2], "deep": {"a": {}}} for _ in range(3)],
    "leaks": [],
    "end": None,
}


@pytest.mark.parametrize("images", [VALUE["images"], []], ids=["some", "none"])
def test_the_bytes_are_those_of_a_file_written_at_once(tmp_path, images):
    write_json(tmp_path / "a.json", VALUE | {"images": images})
    long_json.write(tmp_path / "b.json", VALUE | {"images": DiskList(images)})
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_is_read_in_parts_of_any_size(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(long_json, "CHUNK", chunk)
    (tmp_path / "a.json").write_text(json.dumps(VALUE, indent=indent))
    found = long_json.read(tmp_path / "a.json", "images", "download")
    assert isinstance(found["images"], DiskList)
    assert found | {"images": list(found["images"])} == VALUE
    for value in ([1, 2], 12345, "text", {"images": 5}):
        (tmp_path / "a.json").write_text(json.dumps(value, indent=indent))
        assert long_json.read(tmp_path / "a.json", "images", "download") == value


@pytest.mark.parametrize(
    "text", ["", "{", '{"images": [{"a": 1}', '{"images": [{"a": 1} {"b": 2}]}', '{"a" 1}', '{"a": 1} x', "{nan}", "\xff"]
)
def test_a_broken_file_is_an_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin1"))
    with pytest.raises(SrganError, match=r"a\.json: not valid JSON \(.*\)\. Make it again with: dvc repro -sf download"):
        long_json.read(tmp_path / "a.json", "images", "download")
    with pytest.raises(SrganError, match="no such file"):
        long_json.read(tmp_path / "b.json", "images", "download")


def test_equal_lists_have_equal_digests():
    assert long_json.digest([{"a": 1, "b": 2}]) == long_json.digest(DiskList([{"b": 2, "a": 1}])) != long_json.digest([{"a": 1}])
