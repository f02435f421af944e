import csv
import importlib.util

import cv2
import numpy as np
import pytest
from skimage import data

from srgan.images.read import read_rgb
from srgan.metrics.metric import Sample
from srgan.metrics.niqe import OWN, fit, niqe, read_parameters
from srgan.metrics.registry import METRICS, open_metrics, score, select_metrics
from srgan.utils.errors import SrganError
from tests.helpers.project import ROOT

PHOTO = data.astronaut()


def test_the_official_values_come_out_with_the_published_parameters(mirror):
    (scorer,) = open_metrics([METRICS["niqe_published"]]).values()
    folder = mirror / "datasets" / "metric-calibration"
    with (folder / "results_official.csv").open(newline="") as file:
        (official,) = (row for row in csv.DictReader(file) if row["Method"] == "niqe")
    for name in ("I03", "I04", "I06", "I08", "I19"):
        found = scorer(Sample(read_rgb(folder / "dist" / f"{name}.png")))
        assert found == pytest.approx(float(official[f"{name}.bmp"]), abs=0.1)


def test_degraded_photographs_score_worse_with_the_parameters_of_the_package():
    noise = np.random.default_rng(0).normal(0, 25, PHOTO.shape)
    _, jpeg = cv2.imencode(".jpg", PHOTO, [cv2.IMWRITE_JPEG_QUALITY, 15])
    original, *degraded = (
        niqe(image, read_parameters(OWN))
        for image in (
            PHOTO,
            cv2.GaussianBlur(PHOTO, (0, 0), 1.6),
            np.clip(PHOTO + noise, 0, 255).astype(np.uint8),
            cv2.imdecode(jpeg, cv2.IMREAD_COLOR),
        )
    )
    assert 2 < original < 6
    assert min(degraded) > original + 1


@pytest.mark.parametrize("image", [PHOTO[:96, :191], np.full((200, 200, 3), 90, np.uint8)])
def test_an_image_without_two_blocks_that_vary_has_no_value(image):
    assert np.isnan(niqe(image, read_parameters(OWN)))


def test_an_image_with_flat_blocks_has_a_value():
    framed = cv2.copyMakeBorder(PHOTO, 96, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    assert niqe(framed, read_parameters(OWN)) == pytest.approx(niqe(PHOTO, read_parameters(OWN)), abs=2)


def test_blocks_whose_neighbours_never_share_a_sign_have_a_value():
    rows, columns = np.indices((384, 384))
    amplitude = np.random.default_rng(0).integers(40, 120, (384, 384))
    checkered = np.where((rows + columns) % 2, 128 + amplitude, 128 - amplitude)
    image = PHOTO[:384, :384].copy()
    image[:288, :288] = checkered[:288, :288, None]
    assert niqe(image, read_parameters(OWN)) > 20


def test_the_script_fits_parameters_that_can_be_read(tmp_path, monkeypatch):
    path, made = tmp_path / "photo.png", tmp_path / "own.npz"
    cv2.imwrite(str(path), PHOTO[..., ::-1])
    specification = importlib.util.spec_from_file_location("fit_niqe", ROOT / "benchmarks" / "niqe.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    monkeypatch.setattr("sys.argv", ["niqe.py", str(path), "-o", str(made)])
    script.main()
    fitted = read_parameters(made)
    assert np.array_equal(fitted.covariance, fit([PHOTO]).covariance)
    assert np.linalg.eigvalsh(read_parameters(OWN).covariance).min() > 0


def test_a_wrong_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "wrong.npz"
    np.savez(path, mean=np.zeros(3), covariance=np.zeros((3, 3)))
    for place in (path, tmp_path / "none.npz"):
        with pytest.raises(SrganError, match=f"{place.name}: not parameters of NIQE"):
            read_parameters(place)


def test_niqe_is_scored_with_the_parameters_that_are_named():
    def chosen(niqe):
        return [metric.name for metric in select_metrics(niqe=niqe) if metric.niqe_parameters]

    assert (chosen(["own"]), chosen(["own", "published"]), chosen([])) == (["niqe"], ["niqe", "niqe_published"], [])
    assert score(Sample(PHOTO), open_metrics(select_metrics()))["niqe"] == niqe(PHOTO, read_parameters(OWN))
