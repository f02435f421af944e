"""The documents say what is there."""

import re

import pytest

from conftest import ROOT
from srgan.cli import _parser
from srgan.data.store import Store

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "mlflow" / "README.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_and_pictures_exist(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_targets_exist(document):
    text = document.read_text()
    commands = _parser()._subparsers._group_actions[0].choices
    for command in re.findall(r"`srgan ([a-z]+)|^srgan ([a-z]+)", text, flags=re.M):
        assert "".join(command) in commands
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for target in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, flags=re.M):
        assert "".join(target) in targets


def test_the_store_can_be_read_as_documented(project, monkeypatch):
    code = re.search(r"```python\n(import json.*?)```", (ROOT / "docs" / "data.md").read_text(), flags=re.S).group(1)
    monkeypatch.chdir(project)
    names: dict = {}
    exec(compile(code, "docs/data.md", "exec"), names)
    assert (names["hr_image"] == Store(project / "data/prepared").hr[0]).all()


def test_the_python_example_runs(project, tmp_path, monkeypatch):
    from PIL import Image

    code = re.search(r"```python\n(import numpy.*?)```", (ROOT / "docs" / "onnx.md").read_text(), flags=re.S).group(1)
    (tmp_path / "models").symlink_to(project / "models")
    Image.new("RGB", (9, 7), (10, 200, 90)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/onnx.md", "exec"), {})
    with Image.open(tmp_path / "big.png") as result:
        assert result.size == (36, 28)
