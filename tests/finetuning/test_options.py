"""The parameters of a fine-tuning, and its start."""

import pytest
import torch

from srgan.config import schema
from srgan.config.project import Project
from srgan.config.schema import to_dict
from srgan.finetuning.options import Request, open_start, parameters, recipe_of
from srgan.models.checkpoints import save_generator
from srgan.models.registry import build_generator
from srgan.utils.errors import SrganError
from tests.helpers.project import write_params


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_generator(tmp_path / "own.safetensors", build_generator("srresnet", scale=2, features=8, depth=1), {})
    return tmp_path / "own.safetensors"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("x4-foto", r"START: .*x4-foto: no such file of weights, and 'x4-foto' is no starter \(starters: restore, x2-photo, .*x4-photo\)"),
        ("models:/faces", "models:/faces: not the address of a model. Name one as models:/NAME@ALIAS or models:/NAME/VERSION"),
        pytest.param(
            "models:/faces@champion", "models:/faces@champion: no such model, alias or version. Registered: none", marks=pytest.mark.slow
        ),  # makes a store
    ],
)
def test_a_wrong_start_is_refused(tmp_path, monkeypatch, start, message):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SrganError, match=message):
        open_start(Project(tmp_path), start)


def test_the_network_is_that_of_the_weights(tmp_path, weights):
    project = Project(tmp_path)
    start = open_start(project, "own.safetensors")
    params = parameters(project, Request("own.safetensors", "photos", name="n"), start, "bicubic")
    assert (params.model.name, params.model.features, params.model.depth, params.prepare.scale) == ("srresnet", 8, 1, 2)
    assert params.pretrain.pretrained == start.address == str(weights)
    assert start.shown == "own.safetensors"
    assert params.train.anchor
    assert params.train.patience
    assert params.train.stabilization.augment_target


def test_the_recipe_is_that_of_the_start(tmp_path, weights):
    project, request = Project(tmp_path), Request("", "photos", name="n")
    own, starter = open_start(project, "own.safetensors"), open_start(project, "x4-photo")
    recipe, origin = recipe_of(project, request, starter, paired=False)
    assert [step["name"] for step in recipe] == ["blur", "downscale", "noise", "blur", "jpeg"]
    assert origin == "that of x4-photo"
    assert recipe_of(project, request, own, paired=False) == ("bicubic", "the default")
    assert recipe_of(project, request, starter, paired=True)[0] == "bicubic"
    assert recipe_of(project, Request("", "photos", recipe="jpeg"), starter, paired=False) == ("jpeg", "--recipe")
    write_params(tmp_path, {"prepare.recipe": "gaussian"})
    assert recipe_of(project, request, own, paired=False)[0] == "gaussian"


def test_the_rules_are_those_of_the_project(tmp_path):
    write_params(tmp_path, {"promote.max_psnr_y_drop": 0.125})
    project = Project(tmp_path)
    params = parameters(project, Request("x4-photo", "photos", name="n"), open_start(project, "x4-photo"), "bicubic")
    assert params.promote.max_psnr_y_drop == 0.125
    assert to_dict(params.promote) == to_dict(schema.load(project.params).promote)


def test_an_unknown_recipe_is_refused(tmp_path):
    project = Project(tmp_path)
    with pytest.raises(SrganError, match=r"--recipe: 'bicubik' is not one of bicubic, .* did you mean bicubic"):
        parameters(project, Request("x4-photo", "photos", name="n"), open_start(project, "x4-photo"), "bicubik")


@pytest.mark.parametrize(("data", "name"), [("/a/My photos/", "My_photos"), ("b/faces", "faces")])
def test_the_name_is_that_of_the_folder(data, name):
    assert Request("x4-photo", data).named().name == name


def test_a_name_that_is_a_path_is_refused():
    with pytest.raises(SrganError, match=r"--name: '../x' may hold letters"):
        Request("x4-photo", "photos", name="../x").named()
