"""The documents say what is there."""

import re

import pytest

from srgan.commands.main import _parser
from srgan.data.packed_store import Store
from tests.helpers.project import ROOT

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
