import shutil
import subprocess

import pytest

from srgan.evaluation.evaluate import read_table
from tests.helpers.commands import run
from tests.helpers.project import copied, write_model


@pytest.fixture
def both(project, tmp_path):
    """A finished project before a change, and a copy after it with another model and other scores."""
    after = copied(project, tmp_path / "after")
    return project, after


def _change(after, column, by):
    """Give the project another file of the model, and other values of a metric."""
    (path,) = (after / "models").glob("*-fp32.onnx")
    shutil.copy(write_model(after, scale=4), path)
    next(after.glob("*.onnx")).unlink()
    (after / "reports/export.json").write_text(
        (after / "reports/export.json").read_text().replace(_sha(after), subprocess.check_output(["sha256sum", path], text=True).split()[0])
    )
    table = read_table(after / "reports/metrics.csv")
    table.loc[table["model"] == "onnx-fp32", column] += by
    table.to_csv(after / "reports/metrics.csv", index=False)


def _sha(after):
    text = (after / "reports/export.json").read_text()
    return text.split('"sha256": "')[1].split('"')[0]


def test_an_unchanged_model_needs_no_decision(both):
    before, after = both
    done = run("srgan", "ci-report", before, cwd=after)
    assert done.stdout.startswith("<!-- srgan ci-report -->\n# Change of the model\n\nThe change gives the same model, bit for bit.\n")
    rows = [line for line in done.stdout.splitlines() if line.startswith("| sample |")]
    assert any("PSNR" in row for row in rows)
    assert all("+0.0000 |  |" in row for row in rows)
    assert "![" not in done.stdout


def test_a_worse_model_is_held_with_the_reason(both):
    before, after = both
    _change(after, "psnr_y", -3.0)
    run("srgan", "ci-report", before, "--picture", "https://example.org/a.png", "-o", "report.md", cwd=after)
    text = (after / "report.md").read_text()
    assert "the new model would be **held** by " in text
    assert "psnr" in next(line for line in text.splitlines() if "**held**" in line)
    row = next(line for line in text.splitlines() if line.startswith("| sample | PSNR-Y"))
    assert row.endswith("| -3.0000 | worse |")
    assert text.endswith("![Comparison of the models on test images](https://example.org/a.png)\n")


def test_without_results_the_stage_is_named(both, tmp_path):
    done = run("srgan", "ci-report", tmp_path, cwd=both[1], check=False)
    assert done.returncode == 1
    assert "dvc repro" in done.stderr
