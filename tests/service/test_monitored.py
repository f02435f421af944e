"""A service that observes its results, and the trial of a challenger."""

import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from srgan.config.delivery import Promote
from srgan.images.read import read_rgb
from srgan.inference.upscaler import Upscaler
from srgan.monitoring.log import RequestLog
from srgan.monitoring.observer import Observer
from srgan.service.model import Identity, ServedModel
from srgan.service.trial import Trial
from srgan.utils.errors import SrganError
from tests.helpers.commands import wait_for
from tests.helpers.degradations import photograph
from tests.helpers.project import write_damaged, write_model
from tests.helpers.service import encoded, running


@pytest.fixture(autouse=True)
def in_thread(request, monkeypatch):
    """Measure in a thread, because a process takes seconds to begin. A test of the process is slow."""
    if not request.node.get_closest_marker("slow"):
        with ThreadPoolExecutor(1) as executor:
            monkeypatch.setattr(Observer, "_process", lambda self: executor)
            yield
    else:
        yield


def picture(number=0, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(photograph("chelsea")[number % 20 :, number % 7 :][:64, :80]).save(buffer, form, **options)
    return buffer.getvalue()


def rows(folder):
    with sqlite3.connect(folder / "requests.sqlite") as database:
        return pd.read_sql_query("SELECT * FROM requests ORDER BY id", database)


def observed(folder, **options):
    return Observer(folder, niceness=0, **options)


def beside(path, observer, share, mode, told):
    """Return a function that makes a trial for a service."""
    challenger = ServedModel(Upscaler(path), lambda path: Identity(path.name, "challenger", "7"))
    return lambda champion: Trial(champion, challenger, share, mode, observer.log, Promote(), lambda *found: told.append(found))


def test_each_result_is_a_row_with_figures_and_without_pictures(model, tmp_path):
    folder = tmp_path / "monitor"
    with running(model, observer=observed(folder)) as client:
        plain = client.post("/upscale", content=picture()).content
        assert client.post("/upscale?format=webp&outscale=1.5", content=picture(form="JPEG", quality=30)).status_code == 200
        job = client.post("/jobs", content=picture()).headers["Location"]
        wait_for(lambda: client.get(job).json()["state"] == "done")
        assert client.post("/upscale", content=b"hello").status_code == 415
        wait_for(lambda: len(rows(folder)) == 3, 60)
        text = client.get("/metrics").text
        assert client.service.observer.left_out == 0
    first, second, third = rows(folder).to_dict("records")
    with running(model) as client:
        assert client.post("/upscale", content=picture()).content == plain
    assert (first["kind"], first["role"], first["model"], first["observed"]) == ("request", "champion", "2x-t-compact-fp32.onnx", 1)
    assert [first[name] for name in ("width", "height", "result_width", "result_height", "format")] == [80, 64, 160, 128, "png"]
    assert (first["quality"], second["quality"], second["subsampling"], second["format"]) == (100, 30, "4:2:0", "webp")
    assert first["consistency"] > 20
    assert pd.isna(second["consistency"])  # the size is no multiple
    assert third["kind"] == "job"
    assert third["consistency"] == first["consistency"]
    assert 0 < first["seconds"] < 60
    assert 'srgan_figure_count{figure="quality"} 3.0' in text
    assert 'srgan_drift{figure="quality"} 0.0' in text
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {"requests.sqlite"}


def test_samples_are_kept_on_request(model, tmp_path):
    with running(model, observer=observed(tmp_path, sample_share=1)) as client:
        content = picture()
        result = client.post("/upscale", content=content).content
        sample = wait_for(lambda: next(iter((tmp_path / "samples").glob("*/result.png")), None), 60)
        wait_for(lambda: sample.stat().st_size == len(result))
    assert (sample.with_name("image").read_bytes(), sample.read_bytes()) == (content, result)


def test_what_waits_at_the_end_is_logged_without_figures(model, tmp_path):
    with running(model, observer=observed(tmp_path)) as client:
        for number in range(5):
            assert client.post("/upscale", content=picture(number)).status_code == 200
    found = rows(tmp_path)
    assert len(found) == 5
    assert found["width"].tolist() == [80] * 5
    assert found.loc[found["observed"] == 0, "niqe"].isna().all()


def test_a_full_queue_leaves_results_out_and_counts_them(model, tmp_path, monkeypatch):
    monkeypatch.setattr("srgan.monitoring.observer.WAITING", 0)
    with running(model, observer=observed(tmp_path)) as client:
        client.post("/upscale", content=picture())
        wait_for(lambda: len(rows(tmp_path)) == 1)
        assert "srgan_observations_left_out 1.0" in client.get("/metrics").text
        assert not list(client.service.home.iterdir())
    assert rows(tmp_path)["observed"].tolist() == [0]


def test_a_log_that_cannot_be_written_does_not_stop_the_service(model, tmp_path):
    with running(model, observer=observed(tmp_path)) as client:
        (tmp_path / "requests.sqlite").write_bytes(b"damaged" * 1000)
        for path in tmp_path.glob("requests.sqlite-*"):
            path.unlink()
        assert client.post("/upscale", content=picture()).status_code == 200
        wait_for(lambda: "srgan_observations_lost 1.0" in client.get("/metrics").text, 60)
    with pytest.raises(SrganError, match=r"requests.sqlite: the log cannot be used \(.*\). If it is damaged, move it to another folder"):
        RequestLog(tmp_path)


@pytest.mark.parametrize(("damage", "mode", "title"), [({"levels": 4}, "shadow", "colour shift"), ({"grid": 8}, "canary", "checkerboard")])
def test_a_bad_challenger_is_rolled_back_within_20_comparisons(model, tmp_path, damage, mode, title):
    """They are 100 requests at a share of 0.2. The share of one half here saves requests, which cost time."""
    told, bad = [], write_damaged(tmp_path, **damage)
    observer = observed(tmp_path / "monitor")
    expected = {path.name: Upscaler(path) for path in (model, bad)}
    answers = []
    with running(model, observer=observer, trial=beside(bad, observer, 0.5, mode, told)) as client:
        for number in range(40):
            answer = client.post("/upscale", content=picture(number))
            assert answer.status_code == 200
            name = answer.headers["Srgan-Model"].split("@")[0]
            answers.append(name)
            if number < 10:
                image = read_rgb(io.BytesIO(picture(number)))
                assert np.array_equal(read_rgb(io.BytesIO(answer.content)), expected[name].upscale(image))
            if client.service.trial.verdict:
                break
            if number % 2:  # a slow client
                wait_for(lambda: not client.service.trial._pending, 60)
        wait_for(lambda: told)
        assert (answers.count(bad.name) > 0) == (mode == "canary")
        later = {client.post("/upscale", content=picture()).headers["Srgan-Model"] for _ in range(10)}
        assert later == {model.name}
        assert "srgan_trial_active 0.0" in client.get("/metrics").text
        reason = client.service.trial.verdict
    assert reason.startswith(title)
    assert told == [(Identity(bad.name, "challenger", "7"), reason)]
    with running(model, observer=(again := observed(tmp_path / "monitor")), trial=beside(bad, again, 0.5, mode, told)) as client:
        assert client.service.trial.verdict == reason
        assert not client.service.trial.active


def test_a_challenger_that_fails_is_rolled_back_and_the_champion_answers(model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    told, bad = [], write_damaged(other, levels=1)
    observer = observed(tmp_path)
    with running(model, observer=observer, trial=beside(bad, observer, 1, "canary", told)) as client:

        def fails(tensor):
            raise RuntimeError("out of order")

        client.service.trial.challenger.current.upscaler.run = fails
        answer = client.post("/upscale", content=picture())
        assert (answer.status_code, answer.headers["Srgan-Model"]) == (200, model.name)
        assert client.post("/upscale", content=b"hello").status_code == 415
        wait_for(lambda: told)
    assert [reason for _, reason in told] == ["it failed: out of order"]


@pytest.mark.slow
def test_the_process_is_replaced_when_it_dies_and_ends_with_the_service(model, tmp_path):
    with running(model, observer=observed(tmp_path)) as client:
        client.post("/upscale", content=picture())
        wait_for(lambda: len(rows(tmp_path)) == 1, 120)
        first = client.service.observer._pid
        psutil.Process(first).kill()
        client.post("/upscale", content=picture())
        wait_for(lambda: len(rows(tmp_path)) == 2, 120)
        client.post("/upscale", content=picture())
        wait_for(lambda: len(rows(tmp_path)) == 3, 120)
        second = client.service.observer._pid
    assert rows(tmp_path)["observed"].tolist() == [1, 0, 1]
    assert not psutil.pid_exists(first)
    assert not psutil.pid_exists(second)


def test_an_equal_challenger_stays_and_pairs_are_kept_for_the_next_start(model, tmp_path):
    good = write_damaged(tmp_path, levels=0.1)
    for before in (0, 3):  # the first look is at 5 pairs
        observer = observed(tmp_path / "monitor")
        with running(model, observer=observer, trial=beside(good, observer, 1, "shadow", [])) as client:
            for number in range(3):
                assert client.post("/upscale", content=picture(number)).headers["Srgan-Model"] == model.name
                wait_for(lambda count=before + number + 1: client.service.trial.pairs == count, 60)
            assert client.service.trial.active


def test_a_challenger_of_another_scale_is_refused(model, tmp_path):
    served = ServedModel(Upscaler(model), lambda path: Identity(path.name))
    other = ServedModel(Upscaler(write_model(tmp_path, scale=3)), lambda path: Identity(path.name))
    with pytest.raises(SrganError, match=r"3x-t-compact-fp32.onnx: another scale or task than 2x-t-compact-fp32.onnx"):
        Trial(served, other, 0.1, "shadow", RequestLog(tmp_path), Promote())


def test_an_error_of_the_client_is_no_draw(model, tmp_path):
    told, bad = [], write_damaged(tmp_path, levels=4)
    observer = observed(tmp_path)
    with running(model, observer=observer, trial=beside(bad, observer, 1, "canary", told)) as client:
        for _ in range(10):
            assert client.post("/upscale", content=encoded()[:200]).status_code == 422
        assert client.service.trial._pending == 0
        assert client.post("/upscale", content=picture()).headers["Srgan-Model"] == f"{bad.name}@challenger version 7"
    assert not told
