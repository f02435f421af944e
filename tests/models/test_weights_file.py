"""Weights from strangers: files that claim more than they hold, or only look like a network."""

import json
import zipfile

import pytest
import safetensors.torch
import torch

from srgan.models import pretrained
from srgan.models.checkpoints import from_state_dict
from srgan.models.weights_file import read_metadata
from srgan.utils.errors import SrganError
from tests.helpers.commands import run


def export(path):
    return run("srgan", "export", path, "-o", path.with_suffix(".onnx"), cwd=path.parent, check=False)


def test_a_checkpoint_that_unpacks_to_a_thousand_times_its_size_is_not_opened(tmp_path):
    torch.save({"conv_first.weight": torch.zeros(64, 3, 3, 3), "big": torch.zeros(25_000_000)}, tmp_path / "plain.pth")
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(tmp_path / "plain.pth") as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert bomb.stat().st_size < 200_000
    refused = export(bomb)
    assert refused.returncode == 1
    assert "bomb.pth: unpacks to more than 17 MB. It is not opened" in refused.stderr
    refused = export(tmp_path / "plain.pth")  # as torch writes it: only the network is wrong
    assert "holds no network of" in refused.stderr


def test_a_checkpoint_that_claims_to_span_several_disks_is_an_error_in_words(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, path)
    content = path.read_bytes()
    locator = content.rindex(b"PK\x05\x06") - 20
    assert content[locator : locator + 4] == b"PK\x06\x07"  # it names the number of disks
    path.write_bytes(content[: locator + 16] + b"\2\0\0\0" + content[locator + 20 :])
    with pytest.raises(SrganError, match="span multiple disks"):
        pretrained.read_state(path)


def test_a_tensor_that_shows_one_number_many_times_is_not_spread_out(tmp_path):
    torch.save({"conv_first.weight": torch.zeros(1, dtype=torch.half).expand(10**9)}, tmp_path / "wide.pth")
    with pytest.raises(SrganError, match="its tensors claim 4,000 MB"):
        pretrained.read_state(tmp_path / "wide.pth")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"conv_first.weight": torch.zeros(4)}, "conv_first.weight has 1 dimensions but the weights of a convolution have 4"),
        ({"conv_first.weight": torch.tensor(1.0)}, "conv_first.weight has 0 dimensions"),
        ({"model.0.weight": torch.zeros(1), "model.1.sub.x.weight": torch.zeros(1)}, "looks like rrdb, but its weights have other names"),
        ({"model.0.weight": torch.zeros(1), "model.1.sub.0.weight": torch.zeros(1)}, "looks like rrdb, but its weights have other names"),
        ({"body.0.weight": torch.zeros(1), "body.x.weight": torch.zeros(1, 1, 1, 1)}, "looks like compact, but"),
        ({"head.0.weight": torch.zeros(1), "tail.weight": torch.zeros(1)}, "looks like srresnet"),
        ({"bicubic": torch.tensor(1.0), "conv3.weight": torch.zeros(1)}, "looks like srcnn, but"),
        ({"conv_first.weight": torch.zeros(4, 3, 3, 3), "body.0.rdb1.conv1.weight": torch.tensor(1.0)}, "looks like rrdb, but"),
        (
            {"conv_cat.weight": torch.tensor(1.0), "upsampler.0.weight": torch.zeros(12), "block_1.c1_r.x": torch.zeros(1)},
            "looks like span",
        ),
        # A network of these sizes would take 360 GB.
        ({"body.0.weight": torch.zeros(100_000, 3, 3, 3), "body.1.weight": torch.zeros(12, 1, 1, 1)}, "does not fit"),
        ({1: torch.zeros(1), "params": 3}, "holds no network of"),
    ],
)
def test_weights_that_only_look_like_a_network_are_an_error_in_words(tmp_path, state, message):
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(SrganError) as caught:
        from_state_dict(pretrained.read_state(tmp_path / "x.pth"), tmp_path / "x.pth")
    assert message in str(caught.value)


@pytest.mark.parametrize("metadata", ["[1]", '{"sr.name": 1}', "not JSON", "[" * 100_000])
def test_metadata_of_another_kind_is_an_error_in_words(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, metadata={"srgan": metadata})
    with pytest.raises(SrganError, match="not a readable safetensors file"):
        read_metadata(path, "train")


def test_a_header_whose_metadata_is_no_text_is_an_error_in_words(tmp_path):
    header = json.dumps({"__metadata__": {"srgan": 1}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(SrganError, match="not a readable safetensors file"):
        read_metadata(tmp_path / "x.safetensors", "train")
