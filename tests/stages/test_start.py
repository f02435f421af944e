import shutil

import pytest
import torch

from srgan.config import schema
from srgan.config.project import Project
from srgan.models.checkpoints import load_discriminator, save_generator
from srgan.models.registry import build_discriminator, build_generator
from srgan.stages import start
from srgan.tracking import registered_weights, store
from srgan.training import lineage
from srgan.utils.errors import SrganError
from srgan.utils.files import sha256
from tests.helpers.commands import run
from tests.helpers.project import write_params
from tests.helpers.starters import write_starter
from tests.stages.test_pipeline import ran


@pytest.fixture
def trained(tmp_path):
    """A file of weights."""
    path = tmp_path / "trained.safetensors"
    save_generator(path, build_generator("compact", scale=2, features=4, depth=1), {})
    return path


def test_a_starter_is_found_by_its_name(tmp_path, monkeypatch, trained, copy_of_project):
    write_starter(copy_of_project, tmp_path / "starters", "tiny-x2")
    monkeypatch.setenv("SRGAN_STARTERS", str(tmp_path / "starters"))
    assert start.locate(Project(tmp_path), "tiny-x2") == tmp_path / "starters" / "tiny-x2.safetensors"
    assert start.name_of("tiny-x2") == "tiny-x2"
    assert start.locate(Project(tmp_path), "trained.safetensors") == trained
    with pytest.raises(SrganError, match=r"'tiny-x4' is no starter \(starters: tiny-x2\)"):
        start.locate(Project(tmp_path), "tiny-x4")


def test_an_alias_is_pinned_to_its_weights(tmp_path, monkeypatch, trained):
    """DVC and the key of the training see a digest. The alias may move on, and the server may be away."""
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    project = Project(tmp_path)
    client = store.connect(project)
    run_id = client.create_run(store.experiment_id(project, client)).info.run_id
    client.create_registered_model("m")
    other = tmp_path / "other.safetensors"
    save_generator(other, build_generator("compact", scale=2, features=4, depth=2), {})
    for path in (trained, other):
        client.create_model_version("m", "none", run_id, registered_weights.upload(client, run_id, path, None))
    client.create_model_version("m", "none", run_id)
    client.set_registered_model_alias("m", "champion", "1")
    assert registered_weights.upload(client, run_id, trained, client.get_model_version("m", "1")) == {}  # not a second time

    path = write_params(tmp_path, {"pretrain.pretrained": "models:/m@champion"})
    pinned = start.pin(project, schema.load(path), path)
    value = pinned.pretrain.pretrained
    assert value == f"models:/m@champion#{sha256(trained)[:12]}"
    assert schema.load(path) == pinned
    assert start.pin(project, pinned, path) == pinned
    assert start.moved(project, pinned) == ""
    client.set_registered_model_alias("m", "champion", "2")
    assert start.locate(project, value).read_bytes() == trained.read_bytes()
    assert "names other weights by now" in start.moved(project, pinned)
    assert start.locate(project, "models:/m/2").read_bytes() == other.read_bytes()
    with pytest.raises(SrganError, match="version 3 was registered without its weights"):
        start.locate(project, "models:/m/3")
    with pytest.raises(SrganError, match=r"no version of m has weights with this digest"):
        start.locate(project, f"models:/m@champion#{'0' * 12}")
    monkeypatch.setattr(store, "connect", lambda project: pytest.fail("the server is asked"))
    assert start.locate(project, value).read_bytes() == trained.read_bytes()


@pytest.mark.parametrize("value", ["models:/m", "models:/m@a@b", "models:/m@a#123"])
def test_a_wrong_address_is_refused(tmp_path, value):
    with pytest.raises(SrganError, match=r"pretrain.pretrained: must be models:/NAME@ALIAS or models:/NAME/VERSION"):
        schema.load(write_params(tmp_path, {"pretrain.pretrained": value}))


@pytest.mark.parametrize("old_names", [False, True])
def test_a_discriminator_starts_from_a_checkpoint_or_a_published_file(tmp_path, old_names):
    theirs, ours = (build_discriminator("unet", features=4) for _ in range(2))
    state = theirs.state_dict()
    if old_names:
        old = {"weight.original": "weight_orig", "weight.0._u": "weight_u", "weight.0._v": "weight_v"}
        for new, name in old.items():
            state = {key.replace(f"parametrizations.{new}", name): value for key, value in state.items()}
        torch.save({"params": state}, tmp_path / "x.pth")
    else:
        torch.save({"signature": "s", "step": 3, "state": {"discriminator": state, "generator": {}}}, tmp_path / "x.pth")
    load_discriminator(tmp_path / "x.pth", ours)
    assert all(torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True))
    with pytest.raises(SrganError, match=r"holds unet .*'features': 4.* but params.yaml names patch .* set its pretrained to scratch"):
        load_discriminator(tmp_path / "x.pth", build_discriminator("patch", features=4, depth=2))


def test_a_discriminator_does_not_start_from_a_file_that_the_training_replaces(tmp_path):
    with pytest.raises(SrganError, match=r"train.discriminator.pretrained: a training replaces this file. Copy it"):
        schema.load(write_params(tmp_path, {"train.discriminator.pretrained": "checkpoints/train/final.pt"}))


def test_the_start_is_in_the_weights(tmp_path):
    known = lineage.started({}, "generator", "models:/m@champion#0123456789ab", "ab" * 32, "compact x4, 6 of 6 weights copied")
    known = lineage.started(known, "discriminator", "d.pth", "cd" * 32, "all weights copied")
    assert lineage.starts(known) == [
        "the generator starts from models:/m@champion#0123456789ab (SHA-256 abababababab): compact x4, 6 of 6 weights copied",
        "the discriminator starts from d.pth (SHA-256 cdcdcdcdcdcd): all weights copied",
    ]


@pytest.mark.slow
def test_a_training_starts_from_the_registered_model_and_its_discriminator(copy_of_project, monkeypatch):
    monkeypatch.setenv("SRGAN_CACHE", str(copy_of_project / "cache"))
    (copy_of_project / "own").mkdir()
    shutil.copy(copy_of_project / "checkpoints/train/final.pt", copy_of_project / "own/final.pt")
    digest = sha256(copy_of_project / "models/generator.safetensors")
    write_params(copy_of_project, {"pretrain.pretrained": "models:/srgan-x4@challenger", "train.discriminator.pretrained": "own/final.pt"})
    done = run("dvc", "repro", cwd=copy_of_project)
    assert f"pretrain.pretrained: models:/srgan-x4@challenger -> models:/srgan-x4@challenger#{digest[:12]}" in done.stderr
    assert "pretrain: starts from models:/srgan-x4@challenger" in done.stderr
    assert "models:/srgan-x4@challenger names other weights by now" in done.stderr  # the training has its alias now
    card = (copy_of_project / "reports/MODEL_CARD.md").read_text()
    assert f"Start: the generator starts from models:/srgan-x4@challenger#{digest[:12]} (SHA-256 {digest[:12]})" in card
    assert "Start: the discriminator starts from final.pt" in card
    assert ran(run("dvc", "repro", cwd=copy_of_project).stdout) == ["register"]
