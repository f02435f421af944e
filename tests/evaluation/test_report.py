"""The page, used as people use it: in a browser, with mouse, keys and fingers."""

import json
import re

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from tests.helpers.browser import Page
from tests.helpers.commands import run
from tests.helpers.project import write_params

STATE = """(() => {
  const card = document.querySelector('.card');
  const transforms = [...card.querySelectorAll('.pane img')].map((image) => getComputedStyle(image).transform);
  const scaled = [...card.querySelectorAll('.pane')].map((pane) => {
    const box = pane.getBoundingClientRect(), image = pane.querySelector('img').getBoundingClientRect();
    return [(box.x - image.x) / image.width, (box.y - image.y) / image.height, box.width / image.width];
  });
  const stage = card.querySelector('.stage').style;
  return {scaled, transforms, a: parseFloat(stage.getPropertyValue('--a')), b: parseFloat(stage.getPropertyValue('--b'))};
})()"""


@pytest.fixture(scope="module")
def page(project):
    return project / "reports" / "report.html"


def opened(page):
    page.js("document.querySelector('.card').scrollIntoView()")  # cards are made when they come near
    page.until("document.querySelector('.error img').src")
    return page


def choose(page, selector, value):
    """Pick an entry of a list."""
    found = f"document.querySelector('{selector}')"
    page.js(f"{found}.value = '{value}'; {found}.dispatchEvent(new Event('change'))")


def places(state):
    """The shown region of each pane: left and top as shares of the picture, and its width."""
    return np.array(state["scaled"])


def test_slider_zoom_and_views_stay_in_step(page, tmp_path):
    with Page(page, 1280, 900) as browser:
        opened(browser)
        assert len(browser.js(STATE)["scaled"]) == 6  # the stage, four views, the error map
        # The slider follows the mouse, one border pushes the other, and keys move it.
        x, y, width, height = browser.box(".stage")
        middle = y + height / 2
        browser.drag((x + width * 0.33, middle), (x + width * 0.10, middle))
        assert browser.js(STATE)["a"] == pytest.approx(10, abs=0.5)
        browser.drag((x + width * 0.10, middle), (x + width * 0.80, middle))
        state = browser.js(STATE)
        assert (state["a"], state["b"]) == (pytest.approx(80, abs=0.5), pytest.approx(80, abs=0.5))
        browser.js("document.querySelector('.handle.b').focus()")
        browser.key("End")
        browser.key("ArrowLeft")
        assert browser.js(STATE)["b"] == 98
        assert browser.js("document.querySelector('.handle.b').getAttribute('aria-valuenow')") == "98"
        # Zoom: the same region in all views, by keys, buttons, double-click and drag.
        browser.js("document.querySelector('.stage').focus()")
        for key in "+++":
            browser.key(key)
        browser.key("ArrowRight")
        browser.drag((x + width / 4, middle), (x + width / 4 - 40, middle - 30))
        shown = places(browser.js(STATE))
        assert np.abs(shown - shown[0]).max() < 1e-3
        assert shown[0, 2] == pytest.approx(1 / 1.5**3, abs=1e-3)
        assert shown[0, 0] > 0.5 * (1 - shown[0, 2]) + 0.02  # moved to the right
        assert shown[0, 1] > 0.5 * (1 - shown[0, 2]) + 0.005  # and down
        browser.js("document.querySelector('[data-zoom=one]').click()")
        picture = browser.js("document.querySelector('[data-view=original] img').naturalWidth")
        assert browser.js("document.querySelector('.part img').getBoundingClientRect().width") == pytest.approx(picture, abs=1)
        assert browser.js("document.querySelector('.card output').textContent") == "100 %"
        browser.js("document.querySelector('[data-zoom=fit]').click()")
        assert places(browser.js(STATE))[0] == pytest.approx([0, 0, 1], abs=1e-3)
        # Any view in any part, error maps too: black where a view is the original.
        choose(browser, ".pick[data-part=left]", "error of bicubic")
        browser.until("document.querySelector('.tag.left').textContent === 'error of bicubic'")
        browser.until("document.querySelector('.part.left img').src.startsWith('data:image/png')")
        browser.picture(tmp_path / "page.png")
        assert not browser.errors
    assert Image.open(tmp_path / "page.png").size == (1280, 900)


def test_the_error_map_is_the_error(page, project):
    name = "sample/astronaut"
    views = (Image.open(project / "reports" / "pictures" / name / f"{view}.png") for view in ("gan", "original"))
    gan, original = (np.asarray(view).astype(int) for view in views)
    error = np.abs(gan - original).mean(axis=2)
    with Page(page, 1280, 900) as browser:
        opened(browser)
        painted = browser.js("""(async () => {
          const image = document.querySelector('[id="sample/astronaut"] .error img');
          await image.decode();
          const canvas = document.createElement('canvas');
          canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
        })()""")
    red = np.array(painted, float).reshape(*error.shape, 4)[..., 0]
    expected = np.interp(np.clip(error / 64, 0, 1), np.linspace(0, 1, 5), [0, 66, 187, 249, 252])
    assert np.abs(red - expected).max() <= 1  # stored without loss


def test_worst_cases_first_on_request(page):
    names = "[...document.querySelectorAll('.card')].map((card) => card.dataset.name)"
    with Page(page, 1280, 900) as browser:
        assert browser.js(names) == ["sample/astronaut", "sample/chelsea", "sample/coffee"]
        choose(browser, "#order", "psnr_y|gan")
        worth = [browser.js(f"JSON.parse(document.getElementById('{name}').dataset.quality)['psnr_y|gan']") for name in browser.js(names)]
        assert worth == sorted(worth)
        choose(browser, "#order", "name")
        assert browser.js(names) == ["sample/astronaut", "sample/chelsea", "sample/coffee"]
        browser.key("j")
        browser.key("j")
        browser.until("document.activeElement.closest('.card')?.dataset.name === 'sample/chelsea'")
        assert not browser.errors


def test_a_phone_shows_it_all_and_fingers_move_it(page, tmp_path):
    with Page(page, 390, 800, phone=True) as browser:
        opened(browser)
        assert browser.js("document.documentElement.scrollWidth") <= 390  # nothing to scroll sideways but the tables
        x, y, width, height = browser.box(".stage")
        assert width > 350
        browser.touch_drag((x + width * 0.67, y + height / 2), (x + width * 0.9, y + height / 2))
        assert browser.js(STATE)["b"] == pytest.approx(90, abs=1)
        assert browser.js("document.querySelector('.handle').getBoundingClientRect().width") >= 44
        assert not browser.errors


def test_the_page_tells_what_it_is_of(page, project):
    text = page.read_text()
    assert not re.search(r'(src|href)="(https?:)?//', text)
    manifest = json.loads((project / "data" / "prepared" / "manifest.json").read_text())
    commit = run("git", "rev-parse", "HEAD", cwd=project).stdout.strip()
    for shown in ("astronaut", "28.54", "Unavailable: LPIPS", "train.losses.relativistic", "Middlebury", "<svg", commit,
                  manifest["train_sha256"][:16], manifest["test_sha256"][:16], "peak memory", "Difference to bicubic"):  # fmt: skip
        assert shown in text, shown


# -- several runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_runs_are_compared_wherever_they_lie(copy_of_project):
    project = copy_of_project
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run("git", "add", "dvc.lock", cwd=project)
    run(*git, "commit", "-qm", "first", cwd=project)
    run("git", "tag", "first", cwd=project)
    write_params(project, {"train.losses.relativistic.weight": 0.5, "train.steps": 4})
    for stage in ("train", "export"):
        run("srgan", stage, cwd=project)
    store = MlflowClient(f"sqlite:///{project}/mlflow/mlflow.db")
    first = store.get_run(store.get_model_version("srgan-x4", "1").run_id)
    done = run("srgan", "compare", "first", first.info.run_name, "workspace", "models:/srgan-x4/1", cwd=project)
    assert "Report: reports/compare.html" in done.stderr
    # What the page of the former training tells is not this one's.
    run("srgan", "sync", cwd=project)
    newest = store.search_runs([first.info.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)[0]
    assert newest.info.run_id != first.info.run_id
    assert not {"report.html", "speed.json"} & {file.path for file in store.list_artifacts(newest.info.run_id)}
    assert "cost/onnx-fp32/megabytes" not in newest.data.metrics
    labels = ["first", first.info.run_name, "workspace", "models-srgan-x4-1"]
    with Page(project / "reports" / "compare.html", 1280, 900) as browser:
        opened(browser)
        views = browser.js("[...document.querySelector('.card').querySelectorAll('[data-view]')].map((view) => view.dataset.view)")
        assert views == ["bicubic", *labels, "original"]
        rows = browser.js("[...document.querySelector('.scores').rows].slice(1).map((row) => row.innerText.split('\\t'))")
        by_label = {row[0]: row[1:] for row in rows}
        assert by_label["first"] == by_label[first.info.run_name] == by_label["models-srgan-x4-1"]
        assert by_label["workspace"] != by_label["first"]
        changed = browser.js("[...document.querySelectorAll('tr.differs')].map((row) => row.innerText.split('\\t'))")
        values = {row[0]: row[1:4] for row in changed}
        assert values == {"train.steps": ["6", "6", "4"], "train.losses.relativistic.weight": ["0.15", "0.15", "0.5"]}
        assert browser.js("document.querySelector('#training + svg') !== null")
        assert not browser.errors


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["workspace", "nonsense"], "'nonsense': no revision or experiment of git and DVC"),
        (["models:/srgan-x4@nobody"], "models:/srgan-x4@nobody:"),
        (["missing.onnx"], "missing.onnx: no such file"),
        (["HEAD"], "revision 'HEAD': its results are missing"),
        (["workspace", "--set", "set5"], "no test images of 'set5' are prepared, only of sample"),
    ],
)
def test_what_cannot_be_compared_is_told(project, names, message):
    failed = run("srgan", "compare", *names, "-o", "dvc_plots/x.html", cwd=project, check=False)
    assert failed.returncode == 1
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("escape", ["up", "absolute", "backslash", "empty"])
def test_a_branch_cannot_choose_where_its_model_is_written(copy_of_project, tmp_path, escape):
    project, target = copy_of_project, tmp_path / "outside" / "evil.onnx"
    target.parent.mkdir()
    name = {"up": "../" * 20 + str(target)[1:], "absolute": str(target), "backslash": "..\\evil.onnx", "empty": ""}[escape]
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "dvc.lock").unlink()
    (project / "reports" / "export.json").write_text(json.dumps({"file": name}))
    inside = project / str(target)[1:]
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"evil")
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run("git", "add", "-f", "dvc.yaml", "reports/export.json", inside.relative_to(project), cwd=project)
    run(*git, "commit", "-qm", "a contribution", cwd=project)
    run("git", "tag", "contribution", cwd=project)
    run("git", "checkout", "-q", "HEAD~1", cwd=project)
    refused = run("srgan", "compare", "contribution", cwd=project, check=False)
    assert refused.returncode == 1
    assert "revision 'contribution': reports/export.json: file: " in refused.stderr
    assert "is not a plain file name" in refused.stderr
    assert not target.exists()
