"""The service by HTTP on loopback: images, limits and errors."""

import io
import json
import os
import re
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from srgan.images.write import Options
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.service import work
from tests.helpers.commands import wait_for
from tests.helpers.service import encoded, held, running

PSD = b"8BPS\0\1" + bytes(40)


@pytest.fixture(scope="module")
def client(model):
    with running(model, pixels=5000, job_pixels=20000, size=200_000) as client:
        yield client


@pytest.fixture
def own_upscaler(model):
    return Upscaler(model)


@pytest.mark.parametrize(
    ("content", "query", "options", "name"),
    [
        (encoded(), "", Options(), "result.png"),
        (encoded(form="JPEG", comment=b"a comment", dpi=(300, 300)), "", Options(), "result.jpg"),
        (encoded(mode="RGBA"), "?format=webp&quality=60", Options(quality=60), "result.webp"),
        (encoded(mode="L"), "?format=tif&outscale=3.5", Options(outscale=3.5), "result.tif"),
        (encoded(form="BMP"), "", Options(), "result.png"),
        (encoded(form="WEBP"), "?lossless=true", Options(lossless=True), "result.webp"),
    ],
)
def test_the_answer_is_what_srgan_upscale_writes(client, upscaler, tmp_path, content, query, options, name):
    upscale_file(upscaler, io.BytesIO(content), tmp_path / name, options)
    expected = (tmp_path / name).read_bytes()
    answer = client.post(f"/upscale{query}", content=content)
    assert answer.status_code == 200, answer.text
    assert answer.content == expected
    with Image.open(io.BytesIO(expected)) as image:
        assert answer.headers["content-type"] == Image.MIME[image.format]
    assert answer.headers["content-disposition"] == f'inline; filename="{name}"'
    assert answer.headers["srgan-model"] == "2x-t-compact-fp32.onnx"
    form = client.post(f"/upscale{query}", files={"image": ("../../etc/a.png", content)}, data={"note": "ignored"})
    assert form.content == expected


def test_the_answer_names_what_its_format_cannot_hold(client):
    commented = encoded(form="JPEG", comment=b"a comment")
    assert "Srgan-Warning" not in client.post("/upscale", content=commented).headers
    warning = client.post("/upscale?format=webp", content=commented).headers["Srgan-Warning"]
    assert warning == "the image: not in the result: the comment"
    frames = [Image.new("L", (8, 8), level) for level in (0, 255)]
    frames[0].save(animation := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    warning = client.post("/upscale", content=animation.getvalue()).headers["Srgan-Warning"]  # of the process that decodes
    assert warning == "the image: only the first of 2 frames is read, 1 left out"


def test_files_whose_places_count_are_refused_or_named(client, tmp_path):
    pytest.importorskip("pydicom")
    from tests.helpers.scientific import scene_of, slice_of

    pixels = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
    content = scene_of(tmp_path / "a.tif", pixels).read_bytes()
    for query in ("", "?format=tif"):
        answer = client.post(f"/upscale{query}", content=content)
        assert (answer.status_code, "a GeoTIFF, whose georeference this service does not keep" in answer.text) == (415, True)
    answer = client.post("/upscale?format=png", content=content)
    assert (answer.status_code, Image.open(io.BytesIO(answer.content)).size) == (200, (48, 32))
    assert answer.headers["Srgan-Warning"] == "the image: not in the result: the position of a map; the scale of a map"
    answer = client.post("/upscale", content=slice_of(tmp_path / "a.dcm", pixels, bits=8).read_bytes())
    assert (answer.status_code, "a DICOM file, which this service does not take" in answer.text) == (415, True)


@pytest.mark.parametrize(
    ("content", "query", "status", "sentence"),
    [
        (b"", "", 400, "the request has no image"),
        (b"hello", "", 415, "the image: not an image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "", 415, "the image: the format PostScript is not read"),
        (PSD, "", 415, "the image: the format Photoshop is not read"),
        (encoded(64, 64)[:5000], "", 422, "the image: "),
        (encoded(form="JPEG")[:300], "", 422, "the image: "),
        (encoded(101, 50), "", 413, "the image has 101x50 pixels, and at most 0.005 megapixels are taken"),
        (encoded(50, 50), "?outscale=3", 413, "the result would have 150x150 pixels, and at most 0.02 megapixels are made"),
        (bytes(200_001), "", 413, "the request has more than 0.2 MB"),
        (encoded(), "?outscale=99", 422, "outscale: input should be less than or equal to 16"),
        (encoded(), "?outscale=nan", 422, "outscale: "),
        (encoded(), "?format=gif", 422, "format: input should be 'png', 'jpg', 'webp', 'tif', 'avif' or 'jxl'"),
        (encoded(), "?quality=0", 422, "quality: input should be greater than or equal to 1"),
    ],
)
def test_an_error_is_one_sentence_without_a_path(client, content, query, status, sentence):
    answer = client.post(f"/upscale{query}", content=content)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    assert answer.json()["detail"].startswith(sentence)
    for secret in ("Traceback", ".py", str(Path.cwd()), client.service.home.name, "/tmp"):
        assert secret not in answer.text
    assert not list(client.service.home.iterdir())


def test_a_bomb_is_refused_by_its_header(client):
    """A PNG of 25 gigapixels in a few bytes, whose checksums are right."""
    ok = encoded()
    header = b"IHDR" + (160_000).to_bytes(4, "big") * 2 + ok[24:29]
    bomb = ok[:12] + header + zlib.crc32(header).to_bytes(4, "big") + ok[33:]
    answer = client.post("/upscale", content=bomb)
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "the image has 160000x160000 pixels, and at most 0.005 megapixels are taken. Send a smaller one",
    )


def test_a_body_that_does_not_state_its_size_has_the_same_limit(client):
    def chunks(count):
        yield from (bytes(50_000) for _ in range(count))

    assert client.post("/upscale", content=chunks(5)).json()["detail"].startswith("the request has more than 0.2 MB")
    boundary = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"

    def form():
        yield boundary
        yield from chunks(5)

    answer = client.post("/upscale", content=form(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["detail"][:24]) == (413, "the request has more tha")


def test_a_form_without_a_file_or_with_two_is_refused(client):
    none = client.post("/upscale", files={"image": (None, "text")})
    assert (none.status_code, none.json()["detail"][:28]) == (400, "the request has no image. Se")
    two = client.post("/upscale", files=[("image", encoded()), ("image", encoded())])
    assert (two.status_code, two.json()["detail"]) == (
        400,
        "the form cannot be read (Too many files. Maximum number of files is 1). Send one file as the field 'image'",
    )
    broken = client.post("/upscale", content=b"no form", headers={"Content-Type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["detail"][:23]) == (400, "the form cannot be read")


def test_a_model_that_fails_is_not_the_clients_fault(own_upscaler, caplog):
    own_upscaler._engine = type("Broken", (), {"run": lambda _: 1 / 0, "release": lambda: None})
    with running(own_upscaler) as client:
        answer = client.post("/upscale", content=encoded())
    assert (answer.status_code, answer.json()["detail"]) == (500, work.OUR_FAULT)
    assert "division by zero" in caplog.text


def test_any_other_error_shows_nothing_of_this_machine(model, monkeypatch, caplog):
    monkeypatch.setattr("srgan.service.work.upscale_file", lambda *_, **__: {}["/a/secret/place"])
    with running(model) as client:
        answer = client.post("/upscale", content=encoded())
        assert (answer.status_code, answer.json()) == (500, {"detail": work.OUR_FAULT})
        assert "/a/secret/place" in caplog.text
        assert client.get("/health").json() == {"status": "ok"}
        assert not list(client.service.home.iterdir())


def test_a_file_that_crashes_the_decoder_fails_alone(model, monkeypatch):
    opened = work.open_image
    monkeypatch.setattr(work, "open_image", lambda content: os.abort() if b"crash" in content.getvalue() else opened(content))
    with running(model, concurrency=1) as client:
        answer = client.post("/upscale", content=encoded() + b"crash")
        assert (answer.status_code, answer.json()["detail"]) == (
            422,
            "the image: decoding it crashes the process that works on it (SIGABRT). Replace the file",
        )
        assert client.post("/upscale", content=encoded()).status_code == 200


def test_requests_beyond_the_queue_are_refused_and_the_others_answered(own_upscaler):
    with running(own_upscaler, concurrency=1, queue=2) as client, ThreadPoolExecutor(8) as threads:
        with held(own_upscaler) as began:
            first = [threads.submit(client.post, "/upscale", content=encoded()) for _ in range(3)]
            assert began.wait(60)
            wait_for(lambda: client.service.requests.taken == 3)
            refused = client.post("/upscale", content=encoded())
            assert (refused.status_code, refused.json()["detail"][:31]) == (429, "3 images wait or are upscaled. ")
            assert 1 <= int(refused.headers["Retry-After"]) <= 600
            assert client.get("/health").status_code == 200
            gauges = client.get("/metrics").text
            assert "srgan_requests_taken 3.0" in gauges
            assert "srgan_requests_running 1.0" in gauges
        assert [one.result().status_code for one in first] == [200] * 3
        assert client.post("/upscale", content=encoded()).status_code == 200


def test_work_that_takes_too_long_ends_and_so_does_the_wait_for_it(own_upscaler):
    own_upscaler.tile = 32
    with running(own_upscaler, concurrency=1, seconds=2) as client, ThreadPoolExecutor(2) as threads:
        assert client.post("/upscale", content=encoded()).status_code == 200  # starts the process that decodes
        with held(own_upscaler) as began:
            slow = threads.submit(client.post, "/upscale", content=encoded(200, 200))
            assert began.wait(60)
            waiting = threads.submit(client.post, "/upscale", content=encoded())
            wait_for(lambda: client.service.requests.taken == 2)
            time.sleep(2.1)
        answer = slow.result()
        assert (answer.status_code, answer.json()["detail"][:38]) == (413, "the image takes longer than 2 s (1 of ")
        answer = waiting.result()
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        assert answer.json()["detail"] == "the image waited 2 s for others. Try again in 2 s"


def test_the_work_ends_when_the_client_has_gone(own_upscaler):
    own_upscaler.tile = 32
    tiles = []
    with running(own_upscaler, concurrency=1) as client:
        with held(own_upscaler) as began:
            waiting = own_upscaler.run
            own_upscaler.run = lambda tensor: tiles.append(tensor) or waiting(tensor)
            content = encoded(200, 200)
            with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
                connection.sendall(b"POST /upscale HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
                assert began.wait(60)
            time.sleep(0.2)  # the end of the connection arrives
        wait_for(lambda: client.service.requests.taken == 0)
        assert len(tiles) == 1
        assert not list(client.service.home.iterdir())


def test_a_slow_sender_loses_its_place(model):
    with (
        running(model, concurrency=1, queue=0, seconds=0.3) as client,
        socket.create_connection(("127.0.0.1", client.base_url.port)) as connection,
    ):
        connection.sendall(b"POST /upscale HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nabc")
        answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408")
        wait_for(lambda: client.service.requests.taken == 0)


def test_a_connection_ends_with_its_answer(model):
    """Also if the process that decodes was started while it was open."""
    content = encoded()
    with running(model) as client, socket.create_connection(("127.0.0.1", client.base_url.port), timeout=20) as connection:
        connection.sendall(b"POST /upscale HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        answer = b"".join(iter(lambda: connection.recv(100_000), b""))
    assert answer.startswith(b"HTTP/1.1 200")


TOKEN = "0123456789abcdef"


def test_a_token_is_demanded_from_all_but_the_health_check(model):
    with running(model, token=TOKEN) as client:
        assert client.get("/health").status_code == 200
        for method, path in (("POST", "/upscale"), ("POST", "/jobs"), ("GET", "/jobs/1"), ("GET", "/version"), ("GET", "/metrics")):
            for wrong in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {TOKEN}"},
                {"Authorization": b"Bearer \xe4"},
            ):
                answer = client.request(method, path, content=encoded() if method == "POST" else None, headers=wrong)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert answer.json()["detail"] == "the token is missing or wrong. Send it as: Authorization: Bearer TOKEN"
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/upscale", content=encoded(), headers=right).status_code == 200
        assert client.get("/version", headers=right).json()["model"]["scale"] == 2


def test_the_measures_count_requests_and_pixels(model):
    with running(model) as client:
        client.post("/upscale", content=encoded(30, 20))
        client.post("/upscale", content=b"hello")
        client.get("/a/path/that/is/not/there")
        lines = client.get("/metrics").text.splitlines()
    for line in (
        'srgan_requests_total{method="POST",path="/upscale",status="200"} 1.0',
        'srgan_requests_total{method="POST",path="/upscale",status="415"} 1.0',
        'srgan_requests_total{method="other",path="other",status="404"} 1.0',
        'srgan_request_seconds_count{path="/upscale"} 2.0',
        "srgan_result_pixels_total 2400.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_openapi_describes_bodies_and_answers(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/upscale",
        "/jobs",
        "/jobs/{identity}",
        "/jobs/{identity}/result",
        "/health",
        "/version",
        "/metrics",
    }
    upscale = described["paths"]["/upscale"]["post"]
    assert set(upscale["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    assert {"200", "401", "413", "415", "422", "429"} <= set(upscale["responses"])
    assert all("description" in one for one in upscale["parameters"])
    assert json.dumps(described).count("HTTPBearer") > 3
    unknown = client.get("/nothing")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "not found. GET /openapi.json lists what this service does")


def test_the_page_of_the_description_needs_no_other_server(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"<h2>{method.upper()} {path}</h2>" in answer.text
    assert "<td>outscale</td><td>0.01 to 16</td>" in answer.text
    assert f"curl --data-binary @photo.jpg {client.base_url}/upscale" in answer.text
    assert not re.findall(r"<script|https?://(?!127\.0\.0\.1)", answer.text)


def test_many_clients_at_once_get_an_image_or_429(model):
    with running(model, concurrency=2, queue=4) as client, ThreadPoolExecutor(12) as threads:
        content = encoded(60, 60)

        def ask(_):
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                return own.post("/upscale", content=content)

        answers = list(threads.map(ask, range(24)))
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
