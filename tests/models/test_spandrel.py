import copy
import json

import pytest
import torch
from safetensors.torch import load_file

import srgan.utils.compat  # noqa: F401 (spandrel imports torchvision)
from srgan.inference.torch_upscale import upscale
from srgan.models import spandrel as adapter
from srgan.models.checkpoints import from_state_dict, load_generator, load_pretrained, new_generator, save_generator
from srgan.models.registry import NETWORKS, architecture_of
from srgan.utils.errors import SrganError
from tests.helpers.foreign import foreign, foreign_file

spandrel = pytest.importorskip("spandrel")

GREY = {"DnCNN": {"in_nc": 1, "out_nc": 1}, "OmniSR": {"num_in_ch": 1, "num_out_ch": 1}}
KINDS = ("SAFMN", "OmniSR", "FDAT", "ESRGAN", "NAFNet")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_project_open_as_its_own_program_opens_them(tmp_path, kind):
    model = from_state_dict(foreign(kind), "x.pth").eval()
    name, config = architecture_of(model)
    assert (name, config["architecture"], config["scale"]) == ("spandrel", kind, model.scale)
    json.dumps(config)
    theirs = spandrel.ModelLoader().load_from_state_dict(foreign(kind)).eval()
    image = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(model(image).clamp(0, 1), theirs(image))
        for height, width in ((1, 1), (17, 31)):  # below and between the sizes that the networks take
            result = model(torch.rand(1, 3, height, width))
            assert result.shape == (1, 3, height * model.scale, width * model.scale)
            assert result.isfinite().all()
    save_generator(tmp_path / "x.safetensors", model, {"sr.objective": "psnr"})
    again, metadata = load_generator(tmp_path / "x.safetensors")
    assert (architecture_of(again), metadata) == ((name, config), {"sr.objective": "psnr"})
    others = spandrel.ModelLoader().load_from_file(tmp_path / "x.safetensors")
    for one, other in ((again.network, others.model), (model.network, others.model)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_an_input_is_padded_by_its_last_row_and_column():
    model = from_state_dict(foreign("SAFMN"), "x").eval()
    assert model.multiple_of == 8
    image = torch.rand(1, 3, 21, 30)
    padded = torch.nn.functional.pad(image, (0, 2, 0, 3), mode="replicate")
    with torch.inference_mode():
        assert torch.equal(model(image), model(padded)[..., :42, :60])


def test_tiles_are_blended_because_no_overlap_is_enough():
    model = from_state_dict(foreign("SAFMN"), "x").eval()
    image = (torch.rand(150, 40, 3) * 255).to(torch.uint8).numpy()
    whole, tiled = upscale(model, image), upscale(model, image, tile=64)
    assert tiled.shape == whole.shape
    assert abs(whole.astype(int) - tiled.astype(int)).mean() < 3  # it averages over the whole input: not equal, and close


@pytest.mark.parametrize(
    ("kind", "message"),
    [("DnCNN", "x: DnCNN with 1 channels in and 1 out"), ("OmniSR", "OmniSR with 1 channels in")],
)
def test_a_network_for_other_images_is_refused_in_words(kind, message):
    with pytest.raises(SrganError, match=message):
        from_state_dict(foreign(kind, **GREY[kind]), "x")


@pytest.mark.parametrize(("purpose", "message"), [("Inpainting", "needs a mask"), ("FaceSR", "needs aligned faces")])
def test_a_network_for_another_purpose_is_refused_in_words(monkeypatch, purpose, message):
    monkeypatch.setattr(spandrel.ImageModelDescriptor, "purpose", purpose)
    with pytest.raises(SrganError, match=f"x: SAFMN {message}"):
        from_state_dict(foreign("SAFMN"), "x")


def test_weights_that_resemble_an_architecture_are_an_error_in_words():
    with pytest.raises(SrganError, match=r"x: looks like spandrel, but its weights have other names or shapes .SAFMN: "):
        from_state_dict(foreign("SAFMN") | {"to_feat.weight": torch.zeros(3, 3)}, "x")


def test_names_and_shapes_that_claim_a_large_network_do_not_build_it():
    many = foreign("SAFMN") | {"feats.99999999.x": torch.zeros(1)}
    with pytest.raises(SrganError, match="SAFMN: its keys number 99999999 blocks"):
        from_state_dict(many, "x")
    wide = foreign("SAFMN") | {"to_feat.weight": torch.zeros(1).expand(20_000, 3, 3, 3)}
    with pytest.raises(SrganError, match="SAFMN: ValueError: the network that its names and shapes describe is larger than the file"):
        from_state_dict(wide, "x")


def test_without_the_extra_an_error_names_it(monkeypatch):
    monkeypatch.setattr(adapter, "is_installed", lambda: False)
    with pytest.raises(SrganError, match=r"holds no network of compact, .*More architectures open after: pip install 'srgan\[spandrel\]'"):
        from_state_dict(foreign("SAFMN"), "x")


def test_a_training_starts_from_the_network_of_the_file(tmp_path):
    path = foreign_file(tmp_path / "x.pth", "SAFMN")
    config = NETWORKS["spandrel"].config(name="spandrel")
    with torch.device("meta"):  # as `srgan plan` counts weights
        assert next(new_generator(config, 2, start=path).parameters()).device.type == "cpu"
    model = new_generator(config, 2, start=path)
    expected = copy.deepcopy(model.state_dict())
    load_pretrained(path, model)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    model.train()(torch.rand(1, 3, 16, 16).contiguous()).mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    with pytest.raises(SrganError, match=r"x.pth: its scale is 2, but prepare.scale is 4"):
        new_generator(config, 4, start=path)
    save_generator(tmp_path / "c.safetensors", NETWORKS["compact"].factory(scale=2, features=4, depth=1), {})
    with pytest.raises(SrganError, match=r"holds a network of this project. Set model.name to compact"):
        new_generator(config, 2, start=tmp_path / "c.safetensors")


def test_the_file_keeps_whole_numbers(tmp_path):
    model = from_state_dict(foreign("FDAT"), "x")
    save_generator(tmp_path / "x.safetensors", model, {})
    kinds = {key: value.dtype for key, value in load_file(tmp_path / "x.safetensors").items()}
    assert kinds == {key: value.dtype for key, value in foreign("FDAT").items()}
    assert torch.int64 in kinds.values() or torch.uint8 in kinds.values()
