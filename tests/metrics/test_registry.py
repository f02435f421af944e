import numpy as np
import pytest

from srgan.metrics import registry
from srgan.metrics.metric import Metric, Sample
from srgan.metrics.registry import METRICS, caption, metrics_table, open_metrics, ranking, score, select_metrics
from srgan.tasks import COLORIZATION, RESTORATION, SUPER_RESOLUTION
from tests.helpers.project import ROOT

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_without_ground_truth_only_metrics_that_need_none_are_scored():
    found = score(Sample(IMAGE, scale=4), open_metrics(select_metrics()))
    assert list(found) == [name for name, metric in METRICS.items() if "".join(metric.needs) == "sr" and metric.score]
    assert {"checkerboard", "niqe"} <= set(found)


def test_metrics_that_share_a_comparison_compute_it_once(monkeypatch):
    calls = []
    monkeypatch.setattr("srgan.metrics.psnr_ssim.compare", lambda *_: calls.append(1) or (30.0, 0.9))
    names = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
    assert score(Sample(IMAGE, IMAGE, scale=4), open_metrics(METRICS[name] for name in names)) == dict(
        zip(names, (30.0, 0.9) * 2, strict=True)
    )
    assert len(calls) == 2


def test_lpips_is_scored_on_the_networks_that_are_named():
    assert [metric.name for metric in select_metrics(["squeeze"]) if metric.lpips_network] == ["lpips_squeeze"]
    assert [metric.name for metric in select_metrics(["alex"], validation=True)] == ["psnr_y", "ssim_y", "lpips", "hatch"]
    assert ranking() == ranking(RESTORATION) == ["lpips", "psnr_y"]
    assert ranking(COLORIZATION) == ["lpips", "ciede2000"]


def test_a_caption_shows_the_metric_of_the_task():
    values = {"psnr_y": 59.123, "ciede2000": 8.456, "lpips": 0.34567, "niqe": 3.0}
    assert caption(values, RESTORATION) == "59.12 dB  LPIPS 0.346"
    assert caption(values, COLORIZATION) == "CIEDE2000 8.46  LPIPS 0.346"
    assert caption(values | {"psnr_y": np.nan, "lpips": np.nan}, SUPER_RESOLUTION) == "NIQE 3.00"


def test_a_metric_whose_weights_are_missing_is_left_out_with_a_warning(monkeypatch, caplog):
    def load(device):
        raise registry.WeightsUnavailable("no weights at http://127.0.0.1:9")

    metric = Metric("x", "X", "", "higher", 2, load=load)
    assert open_metrics([metric], "the report has no X") == {}
    assert "X is unavailable: no weights at http://127.0.0.1:9; the report has no X" in caplog.text


@pytest.mark.parametrize(("name", "better", "worse"), [("psnr_y", 30, 29), ("lpips", 0.1, 0.2), ("sharpness", 0.9, 1.3)])
def test_every_metric_is_turned_so_that_higher_is_better(name, better, worse):
    assert METRICS[name].higher_is_better(better) > METRICS[name].higher_is_better(worse)


def test_the_docs_show_the_registered_metrics():
    assert metrics_table() in (ROOT / "docs" / "evaluation.md").read_text()
