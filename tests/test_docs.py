"""The documents name only links, commands, files, names and parameters that exist."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.main import get_command

import srgan
from srgan.commands import main
from srgan.config.choice import choice_of, section_of
from srgan.config.schema import Params
from srgan.data.packed_store import Store
from tests.helpers.project import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "mlflow" / "README.md"]


def _anchors(document):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _text(document):
    """Return the text of a page without the tables of former names, and without the files that the reader writes."""
    text = re.sub(r"^ *\|[\w ]* before \|.*?\n\n", "", document.read_text(), flags=re.S | re.M)
    return re.sub(r"Write `[^`]+`", "", text)


def _quoted(document):
    """Return the code of a page: the blocks and the words in backticks."""
    text = _text(document)
    return re.findall(r"^```.*?^```", text, flags=re.S | re.M) + re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )


def _defined(module, name):
    """Return True if the module has the name; most are found without an import, which takes seconds where MLflow comes along."""
    if module == "srgan":
        return name in srgan.__all__
    spec = importlib.util.find_spec(module)
    found = spec and re.search(rf"^(?:class|def) {name}\b|^{name}\b.* = ", Path(spec.origin).read_text(), flags=re.M)
    return bool(found) or hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_and_pictures_exist(document):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text()):
        linked = document.parent / target if target else document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_source_files_and_names_exist(document):
    for code in _quoted(document):
        for path in re.findall(r"(?<![\w/.])(?:srgan|pipelines|benchmarks|tests)/[\w/.-]+", code):
            assert (ROOT / path).exists(), path
        for module, names in re.findall(r"^from ((?:srgan|pipelines)[\w.]*) import ([\w, ]+)", code, flags=re.M):
            for name in names.split(","):
                assert _defined(module, name.strip()), f"{module}.{name.strip()}"
        for module in re.findall(r"python -m ((?:pipelines|tests)[a-z_.]*[a-z])", code):
            assert importlib.util.find_spec(module), module
        if found := re.fullmatch(r"(srgan(?:\.[a-z_]+)+)\.([A-Z]\w+|[a-z_]+(?=\())(?:\(.*\))?", code):
            assert _defined(found[1], found[2]), code


def _is_option(name):
    """Return True if ``params.yaml`` may have this dotted name, with the sections of every component."""
    kinds = [Params]
    for key in re.sub(r"\[\d+\]|\.\d+", "", name).split("."):
        fields = [kind.model_fields[key] for kind in kinds if key in kind.model_fields]
        if not fields:
            return False
        choices = [choice_of(field) for field in fields]
        kinds = [kind for choice in choices if choice for kind in choice.components().values()]
        kinds += [kind for field, choice in zip(fields, choices, strict=True) if not choice and (kind := section_of(field, None))]
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_parameters_exist(document):
    sections = "|".join(Params.model_fields)
    files = r"u8|json|csv|png|html|md|yaml|safetensors|sig"
    text = _text(document)
    for code in re.findall(r"`([^`\n]+)`|-S '?(\S+)", text):
        for name in re.findall(rf"(?<![\w./])((?:{sections})\.(?!(?:{files})\b)[a-z]\w*(?:[.\[\]\w]*\w)?)", "".join(code)):
            assert _is_option(name), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_targets_exist(document):
    text = document.read_text()
    commands = get_command(main.app()).commands
    for command in re.findall(r"`srgan ([a-z][a-z-]*)|^srgan ([a-z][a-z-]*)", text, flags=re.M):
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


def test_the_citation_file_is_complete():
    """The required keys of the Citation File Format 1.2.0, in the software and in each paper."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert (citation["type"], citation["license"], citation["version"]) == ("software", "MIT", srgan.__version__)
    assert citation["authors"] == [{"name": "The srgan authors"}]
    assert citation["message"] and citation["title"]
    assert [re.search(r"arxiv.org/abs/([\d.]+)", paper["url"])[1] for paper in citation["references"]] == ["1609.04802", "1809.00219"]
    for paper in citation["references"]:
        assert paper["type"] == "conference-paper"
        assert paper["title"]
        assert all(set(author) == {"family-names", "given-names"} for author in paper["authors"])


def test_the_examples_of_the_library_run(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    for folder in ("HR", "LR"):
        Path(folder).mkdir()
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(image).save("photo.jpg")
    srgan.write_png("HR/boat.png", image)
    srgan.write_png("LR/boat.png", srgan.bicubic_downscale(image, 4))
    text = (ROOT / "docs" / "library.md").read_text()
    for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M):
        exec(compile(code, "docs/library.md", "exec"), {})
    assert Image.open("big.webp").size == Image.open("big.png").size == (320, 256)
    assert all(f"`{name}`" in text for name in srgan.__all__ if name != "__version__")
