"""`srgan monitor` as people type it: the page of a day, the reference and a recipe."""

import datetime
import logging

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from srgan.commands.main import main
from srgan.config.recipe import steps_from_json
from srgan.config.recipe_file import load_recipe
from srgan.data.estimate import LUMA, measure_pixels
from srgan.data.packed_store import Store
from srgan.data.store_writer import StoreWriter, pack
from srgan.degradations.recipe import Recipe
from srgan.images.read import read_rgb
from srgan.monitoring import answer, reference
from srgan.monitoring.drift import look
from srgan.monitoring.figures import of_image
from srgan.monitoring.log import RequestLog
from srgan.monitoring.observer import Observer
from srgan.utils.files import write_json
from tests.helpers.degradations import photograph
from tests.helpers.monitor import row
from tests.helpers.project import write_params

DAY = datetime.date(2026, 3, 5)
NOON = datetime.datetime(2026, 3, 5, 12).timestamp()


def monitor(*arguments):
    try:
        main(["monitor", *map(str, arguments)])
    except SystemExit as error:
        return error.code
    return 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A log of 60 images, of which the last 30 have JPEG quality 30."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    log = RequestLog(tmp_path / "monitor")
    for number in range(60):
        bad = {"quality": 30, "subsampling": "4:2:0"} if number >= 30 else {}
        log.add("requests", row(NOON + number, noise=float(random.normal(2, 0.3)), seconds=number / 10, **bad))
    log.add("requests", row(NOON - 86400, model="of the day before"))
    return tmp_path / "monitor"


def known(folder, data="digest"):
    random = np.random.default_rng(1)
    figures = {"quality": [100.0] * 100, "noise": random.normal(2, 0.3, 100).tolist(), "blur": [0.4] * 100}
    found = reference.Reference("100 training images", data, True, figures)
    found.write(folder)
    return found


def raise_alarm(folder, data="digest"):
    found = look("quality", np.full(100, 100.0), np.full(25, 30.0), 1e-5)
    assert found.alarm
    RequestLog(folder).add("alarms", {"at": NOON + 54, "figure": "quality", "reference": data, "found": found.as_json()})


def test_the_page_sums_up_a_day(folder, capsys):
    known(folder)
    raise_alarm(folder)
    RequestLog(folder).add_pair("a" * 64, "b" * 64, {"champion": {"hatch": 0.1}, "challenger": {"hatch": 0.5}})
    RequestLog(folder).add_verdict("b" * 64, "it failed: <script>")
    assert monitor("monitor", "--day", DAY) == 0
    text = capsys.readouterr().out
    assert "2026-03-05: 60 results, 60 measured, p50 2.95 s, p99 5.84 s" in text
    assert "JPEG quality: 65, reference 100, PSI " in text
    assert "drift of JPEG quality since 2026-03-05 12:00" in text
    page = (folder / "2026-03-05.html").read_text()
    for shown in ("100 training images", "since 2026-03-05 12:00", "Rolled back: it failed: &lt;script&gt;", "<svg", "m.onnx"):
        assert shown in page
    assert "of the day before" not in page
    assert "<script" not in page


def test_a_day_is_one_mlflow_run(folder, tmp_path):
    write_params(tmp_path)
    for _ in range(2):
        assert monitor(folder, "--day", DAY) == 0
    store = MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    (run,) = store.search_runs([store.get_experiment_by_name("srgan").experiment_id])
    assert run.info.run_name == "monitor 2026-03-05"
    assert run.data.metrics["monitor/requests"] == 60
    assert run.data.metrics["monitor/seconds_p99"] == pytest.approx(5.841, abs=0.01)
    assert [file.path for file in store.list_artifacts(run.info.run_id)] == ["2026-03-05.html"]


def prepared_images(folder, count, digest, gray=False):
    """Prepared training images whose LR images are JPEG files of quality 60. Gray ones have 16 bits."""
    image = photograph("coffee")
    with StoreWriter(folder, 2, channels=1 if gray else 3, bits=16 if gray else 8) as writer:
        for number in range(count):
            Image.fromarray(image[number * 3 :][:48, :64]).convert("L" if gray else "RGB").save(folder / "lr.jpg", quality=60)
            lr_image = read_rgb(folder / "lr.jpg")
            lr_image = lr_image[..., :1].astype(np.uint16) * 257 if gray else lr_image
            writer.add(f"own/{number}", pack(folder / "one", lr_image.repeat(2, 0).repeat(2, 1), lr_image))
    write_json(folder / "manifest.json", {"scale": 2, "seed": 0, "train_sha256": digest, "test_sha256": "", "images": []})


def test_the_training_images_are_the_reference_until_they_change(folder, tmp_path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    prepared_images(prepared, 24, "first")
    found = reference.update(folder, prepared)
    assert (found.training, found.data, len(found.figures["quality"])) == (True, "first", 24)
    measured = of_image(measure_pixels(Store(prepared).lr[23] @ np.array(LUMA)))
    assert measured == {name: values[23] for name, values in found.figures.items()}
    assert measured["quality"] == 60
    assert reference.read(folder) == found
    state = (folder / reference.FILE).stat()
    assert reference.update(folder, prepared) == found
    assert (folder / reference.FILE).stat().st_mtime_ns == state.st_mtime_ns
    prepared_images(prepared, 20, "second")
    assert len(reference.update(folder, prepared).figures["noise"]) == 20
    prepared_images(prepared, 5, "third")  # too few
    assert reference.update(folder, prepared) is None
    assert reference.read(folder) is None


def test_gray_images_of_16_bits_are_a_reference(tmp_path):
    prepared_images(tmp_path, 20, "gray", gray=True)
    figures = reference.of_training(tmp_path).figures
    for number, lr_image in enumerate(Store(tmp_path).lr):
        expected = of_image(measure_pixels(lr_image[..., 0] / 257))
        assert {name: values[number] for name, values in figures.items()} == pytest.approx(expected)


def test_gray_and_degraded_training_images_are_measured(tmp_path):
    image = photograph("coffee")[..., 1:2]
    recipe = Recipe(steps_from_json([{"name": "downscale"}, {"name": "noise", "kinds": {"gaussian": 1}, "sigma": (20, 20), "grey": 1}]))
    with StoreWriter(tmp_path, 2, recipe, variants=0, channels=1) as writer:
        for number in range(20):
            writer.add(f"own/{number}", pack(tmp_path / "one", image[number * 3 :][:96, :128]))
    write_json(tmp_path / "manifest.json", {"scale": 2, "seed": 0, "train_sha256": "gray", "test_sha256": "", "images": []})
    figures = reference.of_training(tmp_path).figures
    assert figures["quality"] == [100] * 20
    assert np.median(figures["noise"]) == pytest.approx(20, rel=0.2)


def test_a_folder_of_images_is_a_reference_that_stays(folder, tmp_path, capsys, caplog):
    photos = tmp_path / "photos"
    photos.mkdir()
    image = photograph("chelsea")
    for number in range(20):
        Image.fromarray(image[number : number + 64, : 64 + number]).save(photos / f"{number}.png")
    assert monitor("monitor", "--day", DAY, "--reference", "photos") == 0
    found = reference.read(folder)
    assert (found.origin, found.training, found.figures["quality"]) == ("20 images of photos", False, [100] * 20)
    assert reference.update(folder, tmp_path / "data/prepared") == found
    with caplog.at_level(logging.INFO):
        assert monitor("monitor", "--day", "2026-03-07", "--reference", "photos") == 0  # before the first request of a day
    assert "no request on 2026-03-07" in caplog.text
    (photos / "0.png").unlink()
    assert monitor("monitor", "--day", DAY, "--reference", "photos") == 1
    assert "photos: 19 images can be measured, and a reference needs 20 of at least 32 pixels a side" in capsys.readouterr().err


def test_a_recipe_imitates_the_images_since_they_drift(folder, capsys):
    known(folder)
    raise_alarm(folder)
    assert monitor("monitor", "--day", DAY, "--recipe", "recipe.yaml") == 0
    downscale, jpeg = load_recipe("recipe.yaml")  # this compression hides noise of 2 levels
    assert downscale.name == "downscale"
    assert (jpeg.name, jpeg.probability, jpeg.quality) == ("jpeg", 1, (30, 30))


def test_drift_is_a_reason_to_train_until_the_training_has_other_images(folder, tmp_path):
    prepared = tmp_path / "prepared"
    assert answer.reason(tmp_path / "missing", prepared) is None
    assert answer.reason(folder, prepared) is None
    prepared.mkdir()
    (prepared / "manifest.json").write_text('{"scale": 2, "train_sha256": "digest", "test_sha256": "", "images": []}')
    assert answer.reason(folder, prepared) is None
    raise_alarm(folder)
    found = answer.reason(folder, prepared)
    assert found.sentence == "the images of the service differ from those of the training (quality 100 to 30)"
    assert [step["name"] for step in found.recipe] == ["downscale", "jpeg"]
    (prepared / "manifest.json").write_text('{"scale": 2, "train_sha256": "other", "test_sha256": "", "images": []}')
    assert answer.reason(folder, prepared) is None


def test_an_observer_tests_its_rows_against_the_reference(tmp_path):
    known(tmp_path)
    observer = Observer(tmp_path)
    observer._look()
    for number in range(60):
        observer._test(row(number, noise=2.0, quality=30 if number >= 25 else 100))
    (alarm,) = observer.log.open_alarms("digest")
    assert (alarm["figure"], alarm["at"], alarm["found"]["now"]) == ("quality", 49, 30)
    again = Observer(tmp_path)
    again._look()
    assert again.alarms.raised == {"quality": 25}
    for number in range(25):
        again._test(row(100 + number, noise=2.0))
    assert again.log.open_alarms("digest") == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere: no log of a service. Write one with: srgan serve --monitor nowhere"),
        (["monitor", "--day", "yesterday"], "--day yesterday: not a date. Write it as 20"),
        (["monitor", "--day", "2026-03-07"], "monitor: no request on 2026-03-07. Name another day with --day"),
        (["monitor", "--reference", "monitor"], "monitor: is the folder of the log"),
    ],
)
def test_an_error_is_one_sentence(folder, capsys, arguments, sentence):
    assert monitor(*arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_damaged_reference_names_the_remedy(folder, capsys):
    (folder / reference.FILE).write_text('{"origin": 1}')
    assert monitor("monitor", "--day", DAY) == 1
    assert "reference.json: not a reference. Delete the file and make it again with: srgan monitor monitor" in capsys.readouterr().err
