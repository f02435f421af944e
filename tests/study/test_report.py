import json
import sys

import pytest
from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.study.create import create
from srgan.study.report import report
from srgan.utils.errors import SrganError
from tests.helpers.browser import Page
from tests.helpers.commands import run
from tests.helpers.raters import MODELS, answer, by_rank, write_pictures


@pytest.fixture
def folder(tmp_path):
    """A study with the answers of two raters who agree, one who is careless and one who stopped early."""
    create(tmp_path / "s", write_pictures(tmp_path / "in", MODELS, images=10), raters=5, pairs=60, checks=8, seed=5)
    for rater in (1, 2):
        answer(tmp_path / "s", rater, by_rank("b", "a", "c", "d"))
    answer(tmp_path / "s", 3, lambda *_: "left")
    answer(tmp_path / "s", 4, by_rank("b", "a", "c", "d"), trials=20)
    return tmp_path / "s"


def test_the_order_is_found_and_careless_raters_are_named(folder):
    done = run("srgan", "study", "report", "s", cwd=folder.parent)
    assert "Rater 3 is left out: failed 4 of 8 attention checks" in done.stdout
    assert "3 raters preferred b in 100% of its" in done.stdout
    found = json.loads((folder / "report.json").read_text())
    assert [row["model"] for row in found["models"]] == ["b", "a", "c", "d"]
    assert [row["preferred"] for row in found["models"]] == pytest.approx([1, 2 / 3, 1 / 3, 0], abs=0.05)  # rater 4 answered a part
    assert all(row["low"] < row["strength"] < row["high"] for row in found["models"])
    raters = {row["rater"]: row for row in found["raters"]}
    assert [row["answers"] for row in raters.values()] == [68, 68, 68, 20, 0]
    assert raters[3]["excluded"] == "failed 4 of 8 attention checks"
    assert raters[3]["left"] == 1
    assert 0.3 < raters[1]["left"] < 0.7
    assert [row["failed"] for number, row in raters.items() if number != 3] == [0, 0, 0, 0]
    assert {pair["share"] for pair in found["pairs"]} == {1.0}
    assert all(pair["low"] > 0.5 and pair["p_adjusted"] < 0.01 for pair in found["pairs"])
    assert found["agreement"]["alpha"] == 1
    assert not (folder.parent / "mlflow").exists()  # no project: no store is made
    for name in ("report.json", "report.html"):
        assert "codes" not in (folder / name).read_text()


def test_the_page_shows_it(folder, tmp_path):
    report(folder, project=Project(tmp_path))
    for width in (1100, 390):
        with Page(folder / "report.html", width, 900, phone=width < 500) as page:
            rows = page.js("[...document.querySelectorAll('table')[0].rows].slice(1).map((row) => row.cells[0].innerText)")
            assert rows == ["b", "a", "c", "d"]
            assert "left out: failed" in page.js("document.querySelector('.excluded').innerText")
            bars = page.js(
                "[...document.querySelectorAll('.plot')].map((plot) => parseFloat(plot.querySelector('rect').getAttribute('x')))"
            )
            assert bars == sorted(bars, reverse=True)
            assert all(0 <= bar <= 100 for bar in bars)
            assert page.js("document.documentElement.scrollWidth") <= width
            assert not page.errors


@pytest.mark.parametrize(("careless", "message"), [((), "no rater has answered yet"), ((1,), "all raters failed the attention checks")])
def test_nothing_to_analyse_is_told(careless, message, tmp_path):
    create(tmp_path / "s", write_pictures(tmp_path / "in", ["a", "b"]), raters=2)
    for rater in careless:
        answer(tmp_path / "s", rater, lambda *_: "equal")
    with pytest.raises(SrganError, match=message):
        report(tmp_path / "s", project=Project(tmp_path))


def test_a_project_gets_a_run_that_is_updated(folder, tmp_path, monkeypatch):
    (tmp_path / "params.yaml").touch()
    for _ in range(2):
        report(folder, project=Project(tmp_path))
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'srgan'")
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.info.run_name == "study-s"
    assert one.data.metrics["preferred/b over a"] == 1
    assert one.data.metrics["strength/b"] > one.data.metrics["strength/d"]
    assert one.data.metrics["raters"] == 3
    assert {file.path for file in client.list_artifacts(one.info.run_id)} == {"report.json", "report.html"}


def test_the_result_is_written_without_mlflow(folder, tmp_path, monkeypatch, caplog):
    (tmp_path / "params.yaml").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    report(folder, project=Project(tmp_path))
    assert "send them later with: srgan study report" in caplog.text
    monkeypatch.delitem(sys.modules, "srgan.tracking.preference")
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    (folder / "report.json").unlink()
    report(folder, project=Project(tmp_path))
    assert "MLflow is not installed" in caplog.text
    assert (folder / "report.json").exists()
