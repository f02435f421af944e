"""The service of the page by HTTP: pictures, clips, models, errors and requests of other pages."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from srgan.demo import clips
from srgan.demo.app import Demo, create_app
from srgan.demo.models import Choice, Models
from srgan.inference.levels import HONEST
from srgan.inference.photo import upscale_file
from srgan.service.limits import Limits
from tests.helpers.clips import write_clip
from tests.helpers.commands import wait_for
from tests.helpers.service import encoded, held, serving


def demo_of(model, module=clips, **limits):
    return Demo(Models([Choice("tiny", "a test", lambda: model)]), Limits(job_seconds=600, **limits), module)


@pytest.fixture(scope="module")
def client(model):
    with serving(create_app(demo_of(model, size=200_000, job_pixels=20_000))) as client:
        yield client


def ended(client, content, **query):
    answer = client.post("/jobs", params={"model": "tiny"} | query, content=content)
    assert answer.status_code == 202, answer.text
    address = f"/jobs/{answer.json()['id']}"
    return wait_for(lambda: (state := client.get(address).json())["state"] in ("done", "failed") and state, 60)


def test_a_picture_keeps_its_metadata_as_srgan_upscale_keeps_it(client, upscaler, tmp_path):
    content = encoded(form="JPEG", comment=b"a comment", dpi=(300, 300))
    upscale_file(upscaler, io.BytesIO(content), tmp_path / "result.jpg")
    state = ended(client, content, name="a.jpg")
    assert (state["width"], state["height"], state["warnings"]) == (60, 40, [])
    assert client.get(state["result"]).content == (tmp_path / "result.jpg").read_bytes()
    state = ended(client, content, name="a.jpg", format="webp")
    assert client.get(state["result"]).headers["content-type"] == "image/webp"
    assert state["warnings"] == ["the image: not in the result: the comment"]


def test_a_clip_keeps_its_sound(client, tmp_path):
    state = ended(client, write_clip(tmp_path / "a.mov", 6).read_bytes(), name="holiday.mov")
    assert (state["width"], state["height"], state["tiles_done"]) == (128, 96, 6)
    answer = client.get(state["result"])
    assert answer.headers["content-type"] == "video/quicktime"
    (tmp_path / "big.mov").write_bytes(answer.content)
    with av.open(str(tmp_path / "big.mov")) as found:
        assert [stream.type for stream in found.streams] == ["video", "audio"]


def test_a_geotiff_keeps_its_georeference_unless_another_format_is_chosen(client, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("pydicom")
    from tests.helpers.scientific import scene_of  # needs pydicom

    source = scene_of(tmp_path / "a.tif", np.arange(16 * 24, dtype=np.uint16).reshape(16, 24))
    state = ended(client, source.read_bytes(), name="scene.TIF")
    assert HONEST in state["warnings"]
    answer = client.get(state["result"])
    assert answer.headers["content-type"] == "image/tiff"
    (tmp_path / "big.tif").write_bytes(answer.content)
    with rasterio.open(source) as before, rasterio.open(tmp_path / "big.tif") as after:
        assert (after.crs, after.bounds) == (before.crs, before.bounds)
        assert (after.width, after.height) == (2 * before.width, 2 * before.height) == (state["width"], state["height"])
    state = ended(client, source.read_bytes(), name="scene.tif", format="png")
    assert client.get(state["result"]).headers["content-type"] == "image/png"
    assert state["warnings"] == ["the image: not in the result: the position of a map; the scale of a map"]


def test_a_dicom_file_stays_one(client, tmp_path):
    pytest.importorskip("pydicom")
    from tests.helpers.scientific import slice_of

    source = slice_of(tmp_path / "a.dcm", np.arange(16 * 24, dtype=np.uint16).reshape(16, 24))
    state = ended(client, source.read_bytes(), name="slice.dcm")
    answer = client.get(state["result"])
    assert (state["width"], state["height"], answer.headers["content-type"]) == (48, 32, "application/dicom")
    assert answer.content[128:132] == b"DICM" and HONEST in state["warnings"]
    assert "DICOM file is a DICOM file" in ended(client, source.read_bytes(), name="slice.dcm", format="png")["error"]
    large = slice_of(tmp_path / "b.dcm", np.zeros((200, 200), np.uint16))
    assert "at most 0.02 megapixels are taken" in ended(client, large.read_bytes(), name="b.dcm")["error"]
    damaged = ended(client, source.read_bytes()[:300], name="a.dcm")["error"]
    assert damaged.startswith("the DICOM file: ") and str(tmp_path) not in damaged


def test_an_animation_stays_one_unless_a_format_is_chosen(client):
    frames = [Image.new("RGB", (16, 12), (level, 0, 0)) for level in (0, 90, 200)]
    frames[0].save(animation := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    for query, count in (({}, 3), ({"format": "webp"}, 1)):
        state = ended(client, animation.getvalue(), name="a.gif", **query)
        with Image.open(io.BytesIO(client.get(state["result"]).content)) as image:
            assert (image.size, getattr(image, "n_frames", 1)) == ((32, 24), count)


@pytest.mark.parametrize(
    ("content", "query", "sentence"),
    [
        (b"hello", {"name": "a.jpg"}, "the image: not an image that can be read. Replace or remove the file"),
        (b"hello", {"name": "a.mp4"}, "the clip: FFmpeg cannot read it"),
        (encoded(200, 200), {}, "the image has 200x200 pixels, and at most 0.02 megapixels are taken"),
        (encoded(), {"model": "../other"}, "'../other' is not a model of this page. Choose one of its list"),
    ],
)
def test_an_error_is_one_sentence_without_a_path(client, content, query, sentence):
    state = ended(client, content, **query)
    assert state["state"] == "failed"
    assert state["error"].startswith(sentence)
    assert "/tmp" not in state["error"]


def test_a_file_that_is_too_large_is_refused_at_once(client):
    answer = client.post("/jobs?model=tiny", content=bytes(200_001))
    assert (answer.status_code, answer.json()["detail"][:33]) == (413, "the request has more than 0.2 MB.")


def test_a_model_that_cannot_be_loaded_fails_its_picture(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"hello")
    with serving(create_app(demo_of(tmp_path / "broken.onnx"))) as client:
        assert "broken.onnx" in ended(client, encoded())["error"]


def test_a_deleted_job_of_a_clip_stops_at_the_next_tile(model, tmp_path):
    demo = demo_of(model)
    upscaler = demo.models.load("tiny").upscaler
    upscaler.tile = 32
    with serving(create_app(demo)) as client:
        with held(upscaler) as began:
            content = write_clip(tmp_path / "a.mp4", 30, size=(96, 128)).read_bytes()
            address = f"/jobs/{client.post('/jobs?model=tiny&name=a.mp4', content=content).json()['id']}"
            assert began.wait(60)
            tiles, run = [], upscaler.run
            upscaler.run = lambda tensor: tiles.append(1) or run(tensor)
            assert client.delete(address).status_code == 204
        wait_for(lambda: not list(demo.home.iterdir()), 30)
        assert len(tiles) <= 1
        assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(client, headers, status):
    assert client.post("/jobs?model=tiny", content=encoded(), headers=headers).status_code == status
    assert (client.get("/", headers=headers).status_code == 200) == (status == 202)


def test_the_page_asks_for_nothing_from_elsewhere(client):
    page = client.get("/").text
    assert "default-src 'none'" in page
    assert "://" not in page
    assert client.get("/docs").status_code == 404
