"""The report of a change for a pull request: scores before and after, the comparison image, and the decision of the rules."""

from pathlib import Path
from typing import Any

import pandas as pd

from srgan.config.project import Project
from srgan.config.schema import Params
from srgan.data.manifest import read_manifest
from srgan.evaluation.evaluate import read_table
from srgan.evaluation.model_card import escaped
from srgan.inference import benchmark
from srgan.metrics.registry import METRICS
from srgan.tasks import task_of_manifest
from srgan.tracking.promotion import CHALLENGER, CHAMPION, check_rules
from srgan.tracking.registry import DIFFERENCE_TAG
from srgan.utils.errors import SrganError
from srgan.utils.files import read_json, require, sha256

MODEL = "onnx-fp32"  # in tables of scores: the file that users get
MARK = "<!-- srgan ci-report -->"  # by which a later report replaces this one


def change_report(project: Project, before: Project, params: Params, picture: str = "") -> str:
    """Return the report as Markdown.

    Args:
        project: the files after the change, with the stages up to `evaluate`.
        before: the files before the change, with the same stages.
        params: the configuration after the change.
        picture: address of the comparison image. Empty leaves the image out.

    Raises:
        SrganError: a stage has not run.
    """
    manifest, former = read_manifest(project.prepared), read_manifest(before.prepared)
    models = {CHALLENGER: project.exported_model(), CHAMPION: before.exported_model()}
    tables = {role: read_table(require(each.scores, "evaluate")) for role, each in ((CHALLENGER, project), (CHAMPION, before))}
    lines = [MARK, "# Change of the model", ""]
    if sha256(models[CHALLENGER]) == sha256(models[CHAMPION]):
        lines += ["The change gives the same model, bit for bit.", ""]
    elif manifest["test_sha256"] != former["test_sha256"]:
        lines += ["The test images differ, so there is no decision. The table shows both scores.", ""]
    else:
        lines += _decision(project, params, manifest, tables, models)
    lines += ["| set | metric | before | after | change | |", "|---|---|---|---|---|---|", *_rows(tables)]
    if picture:
        lines += ["", f"![Comparison of the models on test images]({picture})"]
    return "\n".join(lines) + "\n"


def _decision(
    project: Project, params: Params, manifest: dict[str, Any], tables: dict[str, pd.DataFrame], models: dict[str, Path]
) -> list[str]:
    """Return the verdict and the rules of a promotion, with the model before the change as the champion."""
    task = task_of_manifest(manifest)
    originals = {(image["set"], image["name"]) for image in manifest["images"] if image["part"] == "test" and image.get("reference", True)}
    if not originals:
        return ["No test image has an original, so there is no decision.", ""]
    rows = [tables[role].query("model == @MODEL").assign(model=role) for role in (CHALLENGER, CHAMPION)]
    table = pd.concat([*rows, tables[CHALLENGER].query("model == @task.baseline")], ignore_index=True)
    table = table[[place in originals for place in zip(table["set"], table["image"], strict=True)]]
    if any((table["model"] == role).sum() != len(originals) for role in models):
        raise SrganError(f"{project.scores}: not the scores of the test images. Make them again with: dvc repro -f evaluate")
    difference = read_json(project.export_record, made_by="export")["max_difference"].values()
    cost = {role: benchmark.measure(path) for role, path in models.items()}
    checks = check_rules(table, cost, {DIFFERENCE_TAG: str(max(difference))}, params.promote, task)
    failed = [check.name for check in checks if not check.passed]
    verdict = f"**held** by {', '.join(map(escaped, failed))}" if failed else "**promoted**"
    lines = [f"With the model before the change as the champion, the new model would be {verdict}.", ""]
    lines += ["| rule | required | found | |", "|---|---|---|---|"]
    for check in checks:
        cells = (check.name, check.wanted, check.found, "passed" if check.passed else "failed")
        lines.append(f"| {' | '.join(map(escaped, cells))} |")
    return [*lines, ""]


def _rows(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return a row for each set and metric that either side has."""
    means = {role: table.query("model == @MODEL").groupby("set", sort=False)[list(METRICS)].mean() for role, table in tables.items()}
    rows = []
    for name in dict.fromkeys([*means[CHAMPION].index, *means[CHALLENGER].index]):
        for key, metric in METRICS.items():
            old, new = (float(means[role][key].get(name, float("nan"))) for role in (CHAMPION, CHALLENGER))
            if pd.isna(old) and pd.isna(new):
                continue
            gain = float(metric.higher_is_better(new) - metric.higher_is_better(old)) if not pd.isna(old + new) else 0.0
            word = "better" if gain > 0 else "worse" if gain < 0 else ""
            change = "" if pd.isna(old + new) else f"{new - old:+.4f}"
            rows.append(f"| {escaped(name)} | {metric.title} | {_text(metric, old)} | {_text(metric, new)} | {change} | {word} |")
    return rows


def _text(metric: Any, value: float) -> str:
    return "-" if pd.isna(value) else metric.text(value)
