"""The examples of docs/extending.md work as they stand on the page."""

import json
import re
import sys
import types

import pandas as pd
import pytest
from PIL import Image

from srgan.commands.main import main
from srgan.metrics.registry import METRICS
from tests.data.test_layouts import picture
from tests.helpers.project import ROOT, write_params

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


def code(section, language="python"):
    return re.search(rf"^```{language}\n(.*?)^```", SECTIONS[section], flags=re.S | re.M)[1]


def load(section, monkeypatch):
    """Return the section's file as a module of the name that the page gives it."""
    name = re.search(r"Write `(srgan/\w+/\w+)\.py`", SECTIONS[section])[1].replace("/", ".")
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code(section), name, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_fits_on_a_screen(section):
    assert len(SECTIONS[section].strip().splitlines()) <= 40


def test_a_metric_appears_in_scores_and_report(copy_of_project, monkeypatch):
    monkeypatch.setitem(METRICS, "mae", load("A metric", monkeypatch).MAE)
    monkeypatch.chdir(copy_of_project)
    main(["evaluate"])
    main(["report"])
    table = pd.read_csv("reports/metrics.csv")
    assert table["mae"].between(0.1, 100).all()
    means = json.loads((copy_of_project / "reports/metrics.json").read_text())
    assert means["sample"]["bicubic"]["mae"] > 0
    assert "MAE" in (copy_of_project / "reports/report.html").read_text()


def test_own_degraded_images_are_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.fromarray(picture(number)).save(f"photos/{number}.png")
    exec(compile(code("A degradation"), "degraded.py", "exec"), {})
    assert "train: [degraded]" in code("A degradation", "yaml")
    write_params(tmp_path, {"data.train": ["degraded"], "prepare.validation": 0.2})
    main(["download"])
    main(["prepare", "--processes", "1"])
    assert "(degraded: LR images of the data set)" in (tmp_path / "reports/data.html").read_text()
