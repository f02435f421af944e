"""A user's scans, of which no original exists: from params.yaml to the page."""

from functools import partial

import cv2
import numpy as np
import pytest
from skimage import data

from srgan.config import schema
from srgan.config.project import Project
from srgan.data.manifest import pairs, read_manifest
from srgan.data.prepare import prepare
from srgan.degradations.bicubic import bicubic_upscale
from srgan.evaluation.data_card import write_data_card
from srgan.evaluation.evaluate import evaluate
from srgan.evaluation.examples import select_examples, write_examples
from srgan.evaluation.history import TrainingHistory
from srgan.evaluation.report import write_report
from srgan.evaluation.statistics import model_statistics, summarise, summary_sentences
from srgan.images.png import write_png
from srgan.images.read import read_rgb
from srgan.metrics.registry import METRICS
from srgan.stages import download
from srgan.utils.errors import SrganError
from tests.helpers.browser import Page
from tests.helpers.project import write_params

PHOTO = data.astronaut()
MODELS = {"bicubic": partial(bicubic_upscale, scale=4), "gan": lambda image: cv2.GaussianBlur(bicubic_upscale(image, 4), (0, 0), 1)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project with three photographs, a test photograph and two scans, one of an odd size and one grey."""
    root = tmp_path_factory.mktemp("scans")
    for number in range(3):
        write_png(root / "photos" / f"{number}.png", PHOTO[:64, 128 * number : 128 * number + 80])
    write_png(root / "held" / "out.png", PHOTO[300:364, 200:280])
    write_png(root / "my-scans" / "odd.png", PHOTO[100:151, 100:163])
    write_png(root / "my-scans" / "grey.png", PHOTO[200:248, 100:160, 0])
    changes = {"data.train": ["photos"], "data.test": ["held", {"folder": "my-scans", "reference": False}], "prepare.scale": 4}
    params = schema.load(write_params(root, changes))
    project = Project(root)
    download.run(project, params)
    prepare(project.raw, project.prepared, params.prepare)
    return project


def test_scans_are_inputs_as_they_are(prepared):
    own, grey, odd = pairs(prepared.prepared, "test")
    assert [own.hr is None, grey.hr is None, odd.hr is None] == [False, True, True]
    assert np.array_equal(odd.read_lr(), PHOTO[100:151, 100:163])
    assert not (prepared.prepared / "test" / "my-scans" / "hr").exists()
    assert {image["name"]: (image["height"], image["width"]) for image in read_manifest(prepared.prepared)["images"]}["odd"] == (204, 252)
    with pytest.raises(SrganError, match=r"my-scans/odd: has no original"):
        odd.read()


def test_scans_are_scored_by_what_needs_no_original_and_shown_beside_their_input(prepared, tmp_path):
    test, manifest = pairs(prepared.prepared, "test"), read_manifest(prepared.prepared)
    table = evaluate(test, MODELS, 4)
    scans = table[table["set"] == "my-scans"]
    free = {name for name, metric in METRICS.items() if "hr" not in metric.needs and metric.score}
    scored = {name for name in METRICS if scans[name].notna().any()}
    assert {"niqe", "hatch", "checkerboard", "consistency", "input_color_shift"} <= scored <= free
    assert table[table["set"] == "held"]["psnr_y"].notna().all()
    summary = summarise(table)["my-scans"]["gan"]
    assert (summary["psnr_y"], summary["lpips"]) == (None, None)
    assert summary["consistency"] < summarise(table)["my-scans"]["bicubic"]["consistency"]

    statistics = model_statistics(table)
    (own, of_scans) = summary_sentences(statistics, "gan")
    assert own.startswith("gan against bicubic on held: PSNR-Y")
    assert of_scans.startswith("gan against bicubic on my-scans: NIQE")
    chosen = select_examples(table, "gan")
    assert len(chosen) == 3
    write_examples(tmp_path / "pictures", tmp_path / "comparison.png", test, MODELS, table)
    shown = tmp_path / "pictures" / "my-scans" / "odd"
    assert {path.stem for path in shown.iterdir()} == {"input", "bicubic", "gan"}
    assert read_rgb(shown / "input.png").shape == (204, 252, 3)
    page = tmp_path / "report.html"
    write_report(page, "Scans", "gan", table, statistics, tmp_path / "pictures", {"run": TrainingHistory({})}, manifest, {}, [])
    with Page(page, 1280, 900) as browser:
        browser.js("document.querySelector('[id=\"my-scans/odd\"]').scrollIntoView()")
        browser.until("document.querySelector('[id=\"my-scans/odd\"] .tag.right').textContent")
        tags = [
            browser.js(f"document.querySelector('[id=\"my-scans/odd\"] .tag.{part}').textContent") for part in ("left", "middle", "right")
        ]
        assert tags == ["input", "bicubic", "gan"]
        assert browser.js("document.querySelector('[id=\"my-scans/odd\"] .error')") is None
        assert "NIQE" in browser.js("document.querySelector('[id=\"my-scans/odd\"] table').textContent")
        browser.js("document.querySelector('[id=\"held/out\"]').scrollIntoView()")
        browser.until("document.querySelector('[id=\"held/out\"] .error img').src")
        assert not browser.errors


def test_the_data_card_shows_scans_without_a_pair(prepared, tmp_path):
    write_data_card(tmp_path / "data.html", read_manifest(prepared.prepared), prepared.prepared, prepared.raw)
    page = (tmp_path / "data.html").read_text()
    assert 'alt="my-scans/odd"' in page
    assert 'alt="my-scans/odd, HR"' not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.train": [{"folder": "x", "reference": False}]}, "which only data.test may have"),
        ({"data.test": [{"folder": "x", "reference": False, "hr": "HR"}]}, "cannot have hr and lr"),
        ({"data.test": [{"set": {"folder": "x", "reference": False}, "recipe": "jpeg-50"}]}, "has no originals, of which a recipe"),
    ],
)
def test_a_set_without_originals_is_refused_where_they_are_needed(changes, message, tmp_path):
    with pytest.raises(SrganError, match=message):
        schema.load(write_params(tmp_path, changes))
