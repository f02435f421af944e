"""The list of models that the page offers."""

import shutil

import pytest

from srgan.config.project import Project
from srgan.demo.models import Models, offered
from srgan.service.limits import Refused
from srgan.starters import catalogue
from srgan.utils.errors import SrganError


def test_named_models_come_first_then_the_default_then_other_starters(tmp_path, model):
    shutil.copy(model, tmp_path / "mine.onnx")
    address = {"models:/x@champion": lambda: model}
    choices = offered(Project(tmp_path), [str(tmp_path / "mine.onnx"), "x2-photo"], address)
    names = [choice.name for choice in choices]
    assert names[:3] == ["mine.onnx", "x2-photo", catalogue.DEFAULT]
    assert sorted(names[1:-1]) == catalogue.names()
    assert names[-1] == "models:/x@champion"
    assert offered(Project(tmp_path), ["models:/x@champion"], address)[0].name == "models:/x@champion"


def test_a_file_that_is_missing_is_an_error_at_the_start(tmp_path):
    with pytest.raises(SrganError, match=r"no such file\. Name a starter"):
        offered(Project(tmp_path), [str(tmp_path / "missing.onnx")], {})


def test_a_model_follows_its_file(tmp_path, model):
    path = tmp_path / "mine.onnx"
    shutil.copy(model, path)
    models = Models(offered(Project(tmp_path), [str(path)], {}))
    first = models.load("mine.onnx")
    assert models.load("mine.onnx").upscaler is first.upscaler
    path.unlink()
    shutil.copy(model, path)
    assert models.load("mine.onnx").upscaler is not first.upscaler
    with pytest.raises(Refused, match="not a model of this page"):
        models.load("other")
