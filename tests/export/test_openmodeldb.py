import hashlib
from pathlib import Path

import pytest

from srgan.export import openmodeldb
from srgan.models.registry import build_generator

DETAILS = openmodeldb.Details(("jane-doe",), "CC-BY-4.0", "https://example.com/models/", training=(("trainingIterations", 100),))


def entry(folder, **network):
    path = folder / "4x net.safetensors"
    path.write_bytes(b"weights")
    model = build_generator(**({"name": "compact", "scale": 4, "features": 8, "depth": 2} | network))
    images = [(Path("a-input.png"), Path("a-result.png"))]
    return openmodeldb.entry(model, "4x-net", DETAILS, [path, folder / "4x net.param"], images)


def test_an_entry_has_the_properties_of_the_database(tmp_path):
    found = entry(tmp_path)
    assert openmodeldb.problems("4x-net", found) == []
    assert list(found)[:6] == ["name", "author", "license", "tags", "description", "date"]
    assert (found["architecture"], found["size"], found["scale"], found["tags"]) == ("compact", ["8nf", "2nc"], 4, ["general-upscaler"])
    (resource,) = found["resources"]
    assert resource == {
        "platform": "pytorch",
        "type": "safetensors",
        "size": 7,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "urls": ["https://example.com/models/4x%20net.safetensors"],
    }
    assert found["images"] == [
        {"type": "paired", "LR": "https://example.com/models/a-input.png", "SR": "https://example.com/models/a-result.png"}
    ]
    assert entry(tmp_path, name="rrdb", growth=4)["architecture"] == "esrgan"
    assert entry(tmp_path, scale=1)["tags"] == ["restoration"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("author", "Jane Doe"),
        ("author", []),
        ("license", "all rights reserved"),
        ("license", None),
        ("tags", []),
        ("tags", ["Photo"]),
        ("description", " padded"),
        ("date", "28.11.2026"),
        ("scale", 17),
        ("scale", 4.0),
        ("inputChannels", 0),
        ("resources", []),
        ("resources", [{"platform": "ncnn", "type": "bin", "size": 1, "sha256": "0" * 64, "urls": ["https://a.b/c"]}]),
        ("images", [{"type": "paired", "LR": "https://a.b/c"}]),
        ("trainingIterations", 0),
        ("pretrainedModelG", "my model"),
        ("size", [""]),
    ],
)
def test_each_broken_rule_is_named(tmp_path, key, value):
    broken = openmodeldb.problems("4x-net", entry(tmp_path) | {key: value})
    assert broken[0].startswith(f"{key}: {value!r} is not ")


@pytest.mark.parametrize("url", ["ftp://a.b/c", "https://cdn.discordapp.com/attachments/1/net.pth", "here"])
def test_addresses_that_expire_or_are_none_are_refused(tmp_path, url):
    found = entry(tmp_path)
    found["resources"][0]["urls"] = [url]
    assert [text.partition(":")[0] for text in openmodeldb.problems("4x-net", found)] == ["resources"]


def test_the_id_begins_with_the_scale(tmp_path):
    assert openmodeldb.model_id(4, "My net_v2.1") == "4x-My-net-v2-1"
    assert openmodeldb.model_id(4, "4x_photo_x4") == "4x-photo"
    assert "id: '2x-net' is not the scale" in openmodeldb.problems("2x-net", entry(tmp_path))[0]
