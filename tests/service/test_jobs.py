"""Jobs by HTTP: their states, results, limits and end."""

import time

import numpy as np
import pytest

from srgan.inference.upscaler import Upscaler
from tests.helpers.commands import wait_for
from tests.helpers.service import encoded, held, running


@pytest.fixture
def own_upscaler(model):
    return Upscaler(model)


def posted(client, content, query=""):
    answer = client.post(f"/jobs{query}", content=content)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def ended(client, address):
    return wait_for(lambda: (state := client.get(address).json())["state"] in ("done", "failed") and state, 60)


def test_a_job_is_what_a_request_answers_for_larger_images(model):
    content = encoded(60, 50)
    with running(model, pixels=2000, job_pixels=3000) as client:
        assert client.post("/upscale", content=content).status_code == 413
        address = posted(client, content, "?format=webp")
        state = ended(client, address)
        assert (state["state"], state["tiles_done"], state["tiles"]) == ("done", 1, 1)
        assert (state["width"], state["height"]) == (120, 100)
        assert 3500 < state["kept_for_seconds"] <= 3600
        result = client.get(state["result"])
        assert (result.status_code, result.headers["content-type"]) == (200, "image/webp")
        assert client.get(state["result"]).content == result.content  # as often as one likes
        with running(model) as other:
            assert other.post("/upscale?format=webp", content=content).content == result.content
        assert client.delete(address).status_code == 204
        for gone in (client.get(address), client.get(state["result"]), client.delete(address)):
            assert (gone.status_code, gone.json()["detail"][:24]) == (404, "there is no such job. It")
        assert not list(client.service.home.iterdir())


def test_a_job_that_fails_states_the_reason(model):
    with running(model, job_pixels=3000) as client:
        address = posted(client, b"hello")
        state = ended(client, address)
        assert state["error"] == "the image: not an image that can be read. Replace or remove the file"
        answer = client.get(f"{address}/result")
        assert (answer.status_code, answer.json()["detail"]) == (415, state["error"])
        state = ended(client, posted(client, encoded(61, 50)))
        assert state["error"] == "the image has 61x50 pixels, and at most 0.003 megapixels are taken. Send a smaller one"
        refused = client.post("/jobs", content=b"")
        assert refused.status_code == 400
        assert len(client.service.jobs) == 2


def test_jobs_wait_have_a_limit_and_end_when_they_are_deleted(own_upscaler):
    own_upscaler.tile = 32
    with running(own_upscaler, jobs=2) as client:
        with held(own_upscaler) as began:
            first, second = posted(client, encoded(100, 100)), posted(client, encoded())
            assert began.wait(60)
            state = client.get(first).json()
            assert (state["state"], state["tiles_done"]) == ("running", 0)
            assert state["tiles"] > 1
            state = client.get(second).json()
            assert (state["state"], state["ahead"]) == ("waiting", 1)
            early = client.get(f"{second}/result")
            assert (early.status_code, early.json()["detail"], early.headers["Retry-After"]) == (
                409,
                "the job is waiting. Try again later",
                "1",
            )
            refused = client.post("/jobs", content=encoded())
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert client.delete(first).status_code == 204
            assert client.get(first).status_code == 404
        assert ended(client, second)["state"] == "done"
        assert len(list(client.service.home.iterdir())) == 1


def test_requests_are_answered_while_a_job_runs(own_upscaler):
    with running(own_upscaler, concurrency=1) as client:
        with held(own_upscaler) as began:
            address = posted(client, encoded())
            assert began.wait(60)
            assert client.post("/upscale", content=b"hello").status_code == 415
        assert ended(client, address)["state"] == "done"


def test_old_jobs_expire(model, monkeypatch):
    with running(model) as client:
        address = posted(client, encoded())
        ended(client, address)
        monkeypatch.setattr("srgan.service.jobs.KEEP_SECONDS", -1)
        client.service.jobs.expire()
        assert not list(client.service.home.iterdir())
        assert client.get(address).status_code == 404


def test_a_service_that_ends_waits_for_no_job(own_upscaler):
    own_upscaler.tile = 32
    with running(own_upscaler) as client:
        tiles, run = [], own_upscaler.run
        own_upscaler.run = lambda tensor: tiles.append(tensor) or time.sleep(0.02) or run(tensor)  # 12 seconds for all tiles
        posted(client, encoded(600, 600))
        wait_for(lambda: tiles)
        home = client.service.home
    assert len(tiles) < own_upscaler.tile_count(np.zeros((600, 600, 3), np.uint8))
    assert not home.exists()
