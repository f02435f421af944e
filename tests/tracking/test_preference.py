"""Blind studies in the registry, and as a rule of a promotion."""

import json

import pytest
from mlflow.tracking import MlflowClient

from srgan.config.project import Project
from srgan.tracking import preference, promotion, registry, store
from tests.helpers.commands import run
from tests.helpers.project import write_params
from tests.helpers.raters import answer, by_rank, write_pictures

OURS, THEIRS = "1" * 64, "2" * 64


def result(share=0.7, low=0.6, high=0.8, ours=OURS, theirs=THEIRS, study="s1"):
    """What `srgan study report` found for two models."""
    pair = {"first": "x", "second": "y", "share": share, "low": low, "high": high, "answers": 180, "images": 60}
    models = [{"model": "x", "strength": 0.4}, {"model": "y", "strength": -0.4}]
    raters = [{"answers": 60, "excluded": ""}, {"answers": 60, "excluded": "failed"}, {"answers": 0, "excluded": ""}]
    sources = {"x": {"source": "x", "sha256": ours}, "y": {"source": "y", "sha256": theirs}}
    return {"id": study, "models": models, "pairs": [pair], "raters": raters, "agreement": {"alpha": None}, "sources": sources}


def tags(found, digest):
    return {preference.PREFERENCE_TAG: json.dumps(preference.results_by_digest(found)[digest])}


def test_a_result_counts_in_both_directions():
    found = result()
    assert preference.result_against(tags(found, OURS), THEIRS)["low"] == 0.6
    turned = preference.result_against(tags(found, THEIRS), OURS)
    assert (turned["share"], turned["low"], turned["high"]) == (0.3, 0.2, 0.4)
    assert preference.result_against(tags(found, OURS), "3" * 64) is None
    assert preference.result_against({}, THEIRS) is preference.result_against({}, None) is None
    assert preference.result_against({preference.PREFERENCE_TAG: "damaged"}, THEIRS) is None
    assert preference.results_by_digest(result(theirs=None)) == {}  # a folder of pictures is no registered model


@pytest.mark.parametrize(
    ("found", "least", "passed", "text"),
    [
        (result(), 0.55, True, "preferred in 70% of 180 answers on 60 images (60% to 80%)"),
        (result(), 0.6, True, "60%"),
        (result(), 0.65, False, "70%"),  # the share alone is not enough
        (result(low=None, high=None), 0.55, False, "which give no interval"),
        (result(ours="3" * 64), 0.55, False, "no blind study of both models"),
    ],
)
def test_the_lower_end_of_the_interval_decides(found, least, passed, text):
    of_version = tags(found, OURS) if found["sources"]["x"]["sha256"] == OURS else {}
    check = promotion.check_preference(of_version, THEIRS, least)
    assert check.passed is passed
    assert text in check.found


def test_registered_versions_are_tagged_and_the_newest_study_counts(tmp_path):
    project, report = Project(tmp_path), tmp_path / "report.json"
    report.write_text("{}")
    client = store.connect(project)
    client.create_registered_model("net-x4")
    for digest in (OURS, THEIRS, "4" * 64):
        client.create_model_version("net-x4", str(tmp_path), tags={registry.DIGEST_TAG: digest})
    preference.record(project, "first", result(), [report])
    preference.record(project, "second", result(share=0.4, low=0.3, high=0.5, study="s2"), [report])
    preference.record(project, "third", result(theirs="4" * 64, study="s3"), [report])
    ours, theirs, other = (client.get_model_version("net-x4", number).tags for number in "123")
    assert preference.result_against(ours, THEIRS)["study"] == "s2"
    assert preference.result_against(theirs, OURS)["share"] == 0.6
    assert preference.result_against(ours, "4" * 64)["study"] == "s3"
    assert preference.result_against(other, OURS)["share"] == 0.3
    many = dict.fromkeys((f"{number:064}" for number in range(30)), preference.result_against(ours, THEIRS))
    client.set_model_version_tag("net-x4", "1", preference.PREFERENCE_TAG, json.dumps(dict(list(many.items())[:20])))
    preference.record(project, "fourth", result(), [report])
    kept = client.get_model_version("net-x4", "1").tags
    assert len(json.loads(kept[preference.PREFERENCE_TAG])) == preference.MAX_RESULTS
    assert preference.result_against(kept, THEIRS)["study"] == "s1"


@pytest.mark.slow
def test_people_decide_a_promotion(copy_of_project):
    folder = copy_of_project
    loose = {"promote.metric": "psnr_y", "promote.max_psnr_y_drop": 40.0, "promote.max_checkerboard_rise": 100.0}
    loose |= {"promote.max_hatch_rise": 100.0, "promote.max_color_shift_rise": 200.0, "promote.max_time_ratio": 50.0}
    write_params(folder, loose)
    run("srgan", "promote", cwd=folder)
    write_params(folder, loose | {"train.seed": 5, "promote.preference_min": 0.55})
    for stage in ("train", "export", "evaluate", "report", "register"):
        run("srgan", stage, cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "FAILED  preference: no blind study of both models; see docs/study.md" in done.stdout
    (inputs,) = write_pictures(folder / "data" / "blind", ["lr"], images=8, size=(32, 24))
    models = ("old=models:/srgan-x4@champion", "new=models:/srgan-x4@challenger")
    run("srgan", "study", "create", "blind", *models, "--inputs", inputs, "--raters", "2", cwd=folder)
    for rater in (1, 2):
        answer(folder / "blind", rater, by_rank("new", "old"))
    run("srgan", "study", "report", "blind", cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "passed  preference: preferred in 100% of 16 answers on 8 images" in done.stdout
    client = MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    for alias, share in (("challenger", 1.0), ("champion", 0.0)):
        (found,) = json.loads(client.get_model_version_by_alias("srgan-x4", alias).tags[preference.PREFERENCE_TAG]).values()
        assert found["share"] == share
    run("srgan", "study", "create", "prepared", *models, "truth=originals", cwd=folder)  # the prepared test images
    answer(folder / "prepared", 1, by_rank("truth", "old", "new"))
    run("srgan", "study", "report", "prepared", cwd=folder)
    done = run("srgan", "promote", "--dry-run", cwd=folder, check=False)
    assert "FAILED  preference: preferred in 0% of 3 answers on 3 images, which give no interval" in done.stdout
